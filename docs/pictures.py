"""Makes the pictures of README and the tutorial from a real run; needs Chromium, and knows nothing of how a report is drawn.

    python docs/pictures.py WORK

WORK is a folder in which the two commands of README were run: it holds run.yaml and .vertune/ with one model and its report.
Writes docs/images/report.png (the newest report), docs/images/dataset.png (the newest dataset's page), docs/images/terminal.svg (the output
of three commands, as rich exports it), and of the console docs/images/label.png, progress.png and try.png, once some of the messages were
labelled in a project. With --all FOLDER, every page of the console is written to a folder instead, at two widths, light and dark, in both
languages, to be looked at.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text

from vertune.testing.chromium import Chromium

IMAGES = Path(__file__).resolve().parent / "images"
COMMANDS = [
    ["vertune", "init", "messages.csv"],
    ["vertune", "predict", "messages", "The machine kept my card"],
    ["vertune", "evaluate", "messages"],
]
COLUMNS = 100
LIMIT = 250_000
"""Bytes that a committed picture may have."""


def terminal(work: Path) -> None:
    """Run the commands and export what they show; `init` writes run.yaml anew."""
    (work / "run.yaml").unlink(missing_ok=True)
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    for command in COMMANDS:
        typed = " ".join(f'"{word}"' if " " in word else word for word in command)
        console.print(Text(f"$ {typed}", style="bold"))
        console.print(Text.from_ansi(_shown(command, work)))
    picture = console.export_svg(title="vertune", theme=DEFAULT_TERMINAL_THEME)
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)  # rich would load its font from a CDN
    (IMAGES / "terminal.svg").write_text(picture, encoding="utf-8")


def _shown(command: list[str], work: Path) -> str:
    """What a command leaves on a terminal once its progress bars are gone."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    output = []
    with subprocess.Popen(command, cwd=work, stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        while chunk := _read(leader):
            output.append(chunk)
    os.close(leader)
    if process.returncode:
        sys.exit(f"{command} failed: {b''.join(output).decode()}")
    lines = b"".join(output).decode().replace("\r\n", "\n").split("\n")
    return "\n".join(line.rpartition("\x1b[2K")[2].removeprefix("\x1b[?25h") for line in lines if not line.startswith("\x1b[?25l"))


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:  # Linux reports the end of a pseudo-terminal as an input/output error
        return b""


def page(path: Path, name: str, height: int) -> None:
    """A picture of the top of an HTML page, at the width of a desktop, in 256 colours."""
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={profile}", f"--window-size=1100,{height}"]
        target = IMAGES / f"{name}.png"
        subprocess.run([_browser(), *options, f"--screenshot={target}", path.absolute().as_uri()], check=True, capture_output=True)
    if target.stat().st_size > LIMIT:
        sys.exit(f"{target} has {target.stat().st_size:,} bytes; at most {LIMIT:,} are committed. Make it less high.")


def _browser() -> str:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium was not found. Install it, for example: apt-get install chromium")
    return browser


LABELS, BATCH, RECORDS_OF = 150, 50, 5
"""Numbers of labels that are given, in all and at once, and of how many messages one is a record of the project."""
PAGES = (
    "/", "/projects", "/projects/new", "/label/chosen", "/records/chosen", "/review/chosen", "/progress/chosen", "/settings/chosen",
    "/data", "/train", "/jobs", "/models", "/models/messages", "/try/messages", "/traffic", "/watch", "/usage", "/people", "/keys",
)  # fmt: skip
WIDTHS = {"desktop": 1280, "phone": 390}


@contextmanager
def driven() -> Iterator[Chromium]:
    """A browser that is driven by its WebDriver."""
    with tempfile.TemporaryDirectory() as folder, closing(Chromium(Path(folder))) as browser:
        yield browser


@contextmanager
def console(work: Path) -> Iterator[str]:
    """A server with a project of messages, some of which were labelled in batches, and the live model of the folder."""
    rows = list(csv.DictReader((work / "messages.csv").open(encoding="utf-8")))
    text, label = list(rows[0])[:2]
    right = {row[text]: row[label] for row in rows[::RECORDS_OF]}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(work / ".vertune", folder / ".vertune")
        (folder / "chosen.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in right), "utf-8")
        command = ["vertune", "label", "chosen.jsonl", "--labels", ",".join(sorted(set(right.values()))), "--port", "0", "--no-browser"]
        environment = {**os.environ, "COLUMNS": "200"}
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as process:
            assert process.stdout is not None
            url = next(line for line in process.stdout if "Label at" in line).split()[2].partition("/#")[0]
            try:
                with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
                    _label(client, right)
                yield url
            finally:
                process.terminate()


def _label(client: httpx.Client, right: dict[str, str]) -> None:
    """Give right labels in batches, each after the records were ranked, and decide on part of the hold-out."""
    for _ in range(LABELS // BATCH):
        _wait_for(client, client.post("/v1/projects/chosen/rank").json()["id"])
        items = client.post("/v1/projects/chosen/next", json={"count": BATCH}).json()["records"]
        given = [
            {"record": one["record"], "state": "done", "target": {"label": right[one["fields"]["text"]]}, "seconds": 3.2, "version": 1}
            for one in items
        ]
        client.put("/v1/projects/chosen/labels", json={"labels": given}).raise_for_status()
        held = client.get("/v1/projects/chosen/reviews", params={"kind": "held", "limit": 40}).json()["records"]
        for one in held:
            decision = {"record": one["record"], "target": {"label": right[one["fields"]["text"]]}}
            client.put("/v1/projects/chosen/decisions", json=decision).raise_for_status()
    _wait_for(client, client.post("/v1/projects/chosen/rank").json()["id"])
    client.post("/v1/verticals/messages/predict", json={"texts": list(right)[:20]}).raise_for_status()


def _wait_for(client: httpx.Client, job: str) -> None:
    while (found := client.get(f"/v1/jobs/{job}").json())["state"] in ("queued", "running"):
        time.sleep(0.5)
    if found["state"] != "done":
        sys.exit(f"The job {job} failed: {found['why']}")


def shot(browser: Chromium, address: str, target: Path, size: tuple[int, int], dark: bool = False) -> None:
    """A picture of a page of the console, once it has loaded what it shows; without a height, of the whole page."""
    width, height = size
    browser.open("about:blank")
    browser.theme(dark)
    browser.cdp("Emulation.setScrollbarsHidden", hidden=True)
    browser.size(width, height or 900)
    browser.open(address)
    browser.until("document.querySelector('main h1') && !document.querySelector('main[aria-busy]')")
    time.sleep(0.5)  # what pages fetch afterwards
    if not height:
        browser.size(width, min(3000, browser.run("return document.documentElement.scrollHeight")))
    target.write_bytes(browser.picture())


def main() -> None:
    """Make all pictures."""
    work = Path(sys.argv[1])
    if "--all" in sys.argv:
        folder = Path(sys.argv[sys.argv.index("--all") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        with console(work) as url, driven() as browser:
            for path in PAGES:
                for name, width in WIDTHS.items():
                    for dark in (False, True):
                        for language in ("en", "zh"):
                            file = f"{path.strip('/').replace('/', '-') or 'home'}-{name}-{'dark' if dark else 'light'}-{language}.png"
                            shot(browser, f"{url}/?lang={language}#{path}", folder / file, (width, 0), dark)
        return
    IMAGES.mkdir(exist_ok=True)
    newest = {shelf: max((work / ".vertune" / shelf).glob("*/report.html"), key=os.path.getmtime) for shelf in ("datasets", "reports")}
    page(newest["reports"], "report", 700)
    page(newest["datasets"], "dataset", 600)
    terminal(work)
    with console(work) as url, driven() as browser:
        for name, path, height in (("label", "/label/chosen", 640), ("progress", "/progress/chosen", 1000), ("try", "/try/messages", 640)):
            shot(browser, f"{url}/?lang=en#{path}", IMAGES / f"{name}.png", (1100, height))


if __name__ == "__main__":
    main()
