"""Makes the pictures of README and the tutorial from a real run; needs Chromium, and knows nothing of how a report is drawn.

    python docs/pictures.py WORK

WORK is a folder in which the two commands of README were run: it holds run.yaml and .vertune/ with one model and its report.
Writes docs/images/report.png (the newest report), docs/images/dataset.png (the newest dataset's page) and docs/images/terminal.svg
(the output of three commands, as rich exports it).
"""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text

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
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium was not found. Install it, for example: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={profile}", f"--window-size=1100,{height}"]
        target = IMAGES / f"{name}.png"
        subprocess.run([browser, *options, f"--screenshot={target}", path.absolute().as_uri()], check=True, capture_output=True)
    if target.stat().st_size > LIMIT:
        sys.exit(f"{target} has {target.stat().st_size:,} bytes; at most {LIMIT:,} are committed. Make it less high.")


def main() -> None:
    """Make all pictures."""
    work = Path(sys.argv[1])
    IMAGES.mkdir(exist_ok=True)
    newest = {shelf: max((work / ".vertune" / shelf).glob("*/report.html"), key=os.path.getmtime) for shelf in ("datasets", "reports")}
    page(newest["reports"], "report", 700)
    page(newest["datasets"], "dataset", 600)
    terminal(work)


if __name__ == "__main__":
    main()
