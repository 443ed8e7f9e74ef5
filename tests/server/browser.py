"""A browser as the server sees one: it keeps cookies, and its pages send the token of their session; knows nothing of what is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tests.server.running import LONG, Running
from vertune.server.people import Manager
from vertune.store.user import User
from vertune.testing.chromium import Chromium

PASSWORD = "correct horse battery"
_FEATURES = "IsolateOrigins,site-per-process,SpareRendererForSitePerProcess"
_HURRY = """{
  const original = globalThis.setTimeout;
  globalThis.setTimeout = (call, milliseconds, ...given) => original(call, milliseconds < 1000 ? milliseconds / 5 : milliseconds, ...given);
}"""
"""Shortens the moments in which pages let labels, keys and events gather; what has a second or more is a limit, which stays."""


class Browser:
    """One that signs in to a running server; `client` has its cookies, and `token` is that of its session."""

    def __init__(self, running: Running, url: str | None = None) -> None:
        self.client = httpx.Client(base_url=url or running.url, timeout=LONG, trust_env=False, verify=False)
        self.token = ""

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def sign_in(self, name: str | None = None, password: str = PASSWORD, **body: str) -> dict[str, Any]:
        """Sign in, by a name or by what the body has, and return the answer."""
        response = self.client.post("/v1/session", json=body or {"name": name, "password": password})
        assert response.status_code == 201, response.text
        self.token = response.json()["token"]
        return dict(response.json())

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request as a page of the server does."""
        headers = {"X-CSRF-Token": self.token, "Origin": str(self.client.base_url).rstrip("/"), **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)


def start_chromium(folder: Path, keeps_pages: bool = False) -> Chromium:
    """Start a real browser that saves tests time; the folder holds its profile and log.

    It keeps pages that were left, for going back to them, only if a test wants it: a page of the console keeps its streams then, and a
    browser has six connections to a server.
    """
    features = _FEATURES if keeps_pages else f"{_FEATURES},BackForwardCache"
    # without isolation of sites, tests need no new processes for their pages
    made = Chromium(folder, "--disable-site-isolation-trials", f"--disable-features={features}")
    made.cdp("Page.addScriptToEvaluateOnNewDocument", source=_HURRY)
    return made


def add_user(running: Running, name: str, role: str = "annotator", customer: str | None = None, password: str | None = PASSWORD) -> User:
    """Create a user as the command line does."""
    assert running.service.people is not None
    return running.service.people.create(name, role, customer, password, Manager("tests"))


def enter(chromium: Chromium, running: Running, name: str) -> None:
    """Sign in a real browser without its form, which costs it more than most tests: give it the cookie of a new session."""
    with Browser(running) as signed_in:
        signed_in.sign_in(name)
        for cookie in signed_in.client.cookies.jar:
            about = {"name": cookie.name, "value": cookie.value, "url": running.url, "path": cookie.path}
            chromium.cdp("Network.setCookie", **about, httpOnly=True, sameSite="Strict")
