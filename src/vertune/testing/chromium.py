"""Drives Chromium by its WebDriver, for tests and measurements of pages: keys, sizes, lost connections, what it reports; knows no page."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

BROWSER = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
DRIVER = shutil.which("chromedriver")
_TIMEOUT = 60.0
"""Seconds after which what is waited for is missing."""
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element in answers of a WebDriver (W3C WebDriver, 11)."""
_ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps", "--lang=en",
)  # fmt: skip
_WAITING = """
const found = () => (SCRIPT), end = performance.now() + 250;
return new Promise((resolve, reject) => {
  const look = () => {
    try {
      const value = found();
      if (value || document.hidden || performance.now() > end) resolve(value); // timers of hidden pages take a second
      else setTimeout(look, 20);
    } catch (error) {
      reject(error);
    }
  };
  look();
});
"""
"""Waits in the page for a moment, because each command takes more time of the browser than many looks in the page."""
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Left": "\ue012", "Right": "\ue014", "Delete": "\ue017", "Tab": "\ue004", "Shift": "\ue008"}


class Chromium:
    """One window of a browser without a screen."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        """The folder holds the profile and the log of the driver; `arguments` are further ones of the browser."""
        self._log = (folder / "chromedriver.log").open("wb")
        command = [str(DRIVER), "--port=0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)  # noqa: S603 - a fixed command
        lines = iter(self._process.stdout.readline, "")  # type: ignore[union-attr]
        port = next(found[1] for line in lines if (found := re.search(r"started successfully on port (\d+)", line)))
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_TIMEOUT, trust_env=False)
        options = {
            "binary": BROWSER, "args": [*_ARGUMENTS, *arguments, f"--user-data-dir={folder / 'profile'}"],
            "perfLoggingPrefs": {"enablePage": False},
        }  # fmt: skip
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self._session = ""
        self._session = f"/session/{self._send('POST', '/session', {'capabilities': {'alwaysMatch': wanted}})['sessionId']}"
        self.cdp("Network.enable")

    def close(self) -> None:
        """End the browser and its driver."""
        try:
            self._send("DELETE", "")
        finally:
            self._client.close()
            self._process.terminate()
            self._process.wait(_TIMEOUT)
            self._process.stdout.close()  # type: ignore[union-attr]
            self._log.close()

    def cdp(self, command: str, **parameters: Any) -> Any:
        """Send a command of the Chrome DevTools Protocol."""
        return self._send("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def fresh(self, origin: str, width: int = 1280, dark: bool = False) -> None:
        """Forget what an origin stored, have a window of a width, and forget the log."""
        first, *others = self._send("GET", "/window/handles")
        for other in others:  # of a test that failed
            self._send("POST", "/window", {"handle": other})
            self.close_window(first)
        self.open("about:blank")
        self.cdp("Storage.clearDataForOrigin", origin=origin, storageTypes="all")
        self.cdp("Network.clearBrowserCookies")
        self.offline(False)
        self.size(width, 844 if width < 500 else 900)
        self.theme(dark)
        self.complaints()
        self.requests()

    def size(self, width: int, height: int) -> None:
        """Have a window of a size in pixels; a narrow one is that of a phone."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        self.cdp("Emulation.setTouchEmulationEnabled", enabled=width < 500)

    def picture(self) -> bytes:
        """Return what the window shows, as PNG."""
        return base64.b64decode(self.cdp("Page.captureScreenshot")["data"])

    def theme(self, dark: bool) -> None:
        """Prefer a dark theme, or a light one."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])

    def offline(self, lost: bool) -> None:
        """Lose the connection, or have it again."""
        self.cdp("Network.emulateNetworkConditions", offline=lost, latency=0, downloadThroughput=-1, uploadThroughput=-1)

    def open(self, url: str) -> None:
        """Open an address."""
        self._send("POST", "/url", {"url": url})

    def run(self, script: str, *given: Any) -> Any:
        """Return what a script returns; a promise is awaited."""
        return self._send("POST", "/execute/sync", {"script": script, "args": list(given)})

    def until(self, script: str, *given: Any) -> Any:
        """Wait for what an expression gives to be true, also on the next page, and return it."""
        return _until(lambda: self.run(_WAITING.replace("SCRIPT", script), *given))

    def press(self, *keys: str, held: str = "") -> None:
        """Press keys one after another, by their characters or names, while the key `held` is down."""
        codes = [KEYS.get(key, key) for key in keys]
        actions = [{"type": kind, "value": code} for code in codes for kind in ("keyDown", "keyUp")]
        if held:
            actions = [{"type": "keyDown", "value": KEYS[held]}, *actions, {"type": "keyUp", "value": KEYS[held]}]
        self._send("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at a place of the window, and release it at another one."""
        moves = [{"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)} for x, y in (start, end)]
        actions = [moves[0], {"type": "pointerDown", "button": 0}, moves[1], {"type": "pointerUp", "button": 0}]
        self._send("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": actions}]})

    def tap(self, *places: tuple[float, float]) -> None:
        """Touch places of the window, one after another."""
        actions: list[dict[str, Any]] = []
        for x, y in places:
            actions += [
                {"type": "pointerMove", "duration": 0, "x": round(x), "y": round(y)}, {"type": "pointerDown", "button": 0},
                {"type": "pointerUp", "button": 0},
            ]  # fmt: skip
        touch = {"type": "pointer", "id": "finger", "parameters": {"pointerType": "touch"}, "actions": actions}
        self._send("POST", "/actions", {"actions": [touch]})

    def click(self, selector: str, text: str = "") -> None:
        """Click the first element that fits a CSS selector and contains a text."""
        fits = "one.checkVisibility() && one.textContent.includes(arguments[1])"
        self._act("click", {}, f"[...document.querySelectorAll(arguments[0])].find((one) => {fits})", selector, text)

    def type(self, selector: str, text: str) -> None:
        """Type a text into an element."""
        self._act("value", {"text": text}, "document.querySelector(arguments[0])", selector)

    def window(self, handle: str = "") -> str:
        """Switch to a window, or to a new tab; return the one that was left."""
        left: str = self._send("GET", "/window")
        self._send("POST", "/window", {"handle": handle or self._send("POST", "/window/new", {"type": "tab"})["handle"]})
        return left

    def close_window(self, next: str) -> None:
        """Close the window, and switch to another one."""
        self._send("DELETE", "/window")
        self._send("POST", "/window", {"handle": next})

    def complaints(self, but: Callable[[str], bool] = lambda message: False) -> list[str]:
        """Return the warnings and errors that the browser logged since the last call, apart from those that are expected."""
        entries = self._send("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE") and not but(entry["message"])]

    def requests(self) -> list[str]:
        """Return the addresses of the requests since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self._send("POST", "/se/log", {"type": "performance"})]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if urlsplit(url).scheme not in ("data", "about", "chrome")]

    def _act(self, action: str, body: dict[str, Any], script: str, *given: Any) -> None:
        """Do something with the element that an expression gives, or with its successor if the page replaces it at that moment."""
        while True:
            element = self.until(script, *given)
            try:
                self._send("POST", f"/element/{element[_ELEMENT]}/{action}", body)
            except AssertionError as error:
                if "stale element reference" not in str(error):
                    raise
            else:
                return

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        response = self._client.request(method, self._session + path, json=body if method == "POST" else None)
        value = response.json()["value"]
        assert response.status_code == 200, value
        return value


def _until(condition: Callable[[], Any]) -> Any:
    """Wait for a condition; raise TimeoutError if it does not come true in time."""
    end, pause = time.monotonic() + _TIMEOUT, 0.005
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"What was waited for in the browser did not come within {_TIMEOUT:g} s.")
        time.sleep(pause)
        pause = min(0.05, 1.3 * pause)  # each look takes time from the page
    return found
