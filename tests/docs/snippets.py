"""Reads the fenced blocks of a page and runs them as they stand; knows nothing of what a page says."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from vertune.cli import main
from vertune.core.errors import ModelError

FENCE = re.compile(r"(?:^`(?P<file>[\w.-]+)`:\n\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
UNTESTED = {"accelerate", "cp", "make", "pip", "python", "python3"}
"""First words of shell lines that need a package index, another process or minutes; the other lines are run."""
SERVER = "localhost:8000"
"""The address of the server in all pages."""


@dataclass(frozen=True)
class Block:
    """One fenced block; `file` is the name under which the page says that it is saved."""

    language: str
    code: str
    file: str | None = None

    @property
    def lines(self) -> list[list[str]]:
        """The shell lines as words, without comments."""
        joined = self.code.replace("\\\n", " ")
        return [words for words in (shlex.split(line, comments=True) for line in joined.splitlines()) if words]


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    return [Block(match["language"], match["code"], match["file"]) for match in FENCE.finditer(page.read_text(encoding="utf-8"))]


@dataclass
class Session:
    """Runs the blocks of one page in one folder; Python blocks share their names."""

    folder: Path
    serve: Callable[[], str]
    """Starts a server on the folder's home and returns its address."""

    def __post_init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "page"}
        self.server = ""

    def run(self, found: Sequence[Block]) -> int:
        """Save files, run shell lines and Python; returns how many lines and blocks were run."""
        count = 0
        for block in found:
            if block.file:
                (self.folder / block.file).write_text(block.code, encoding="utf-8")
            elif block.language == "python":
                exec(compile(block.code.replace(SERVER, self.server), "page", "exec"), self.names)
                count += 1
            elif block.language == "sh":
                count += sum(self._line(words) for words in block.lines)
        return count

    def _line(self, words: list[str]) -> bool:
        """Run one shell line; False if it is one that no test runs."""
        if words[0] in UNTESTED or words[:2] == ["vertune", "label"]:  # which serves until it is stopped; tests/cli/test_label.py runs it
            return False
        if words[:2] == ["vertune", "serve"] or (words[:2] == ["vertune", "app"] and words[3] == "serve"):
            self.server = self.serve().removeprefix("http://")
        elif words[0] == "vertune":
            self._command(words[1:])
        else:
            assert words[0] == "curl", words
            self._curl(words[1:])
        return True

    def _command(self, words: list[str]) -> None:
        """Run a vertune command; a page's few rows let the gate of `compress` refuse to decide, and behaviour tests fail, as pages explain.

        The tiny base often loses to counting words, so `fit` gets the option to go live nevertheless.
        """
        with pytest.raises(SystemExit) as left:
            main([*words, "--accept"] if words[0] == "fit" else words)
        undecided = (words[0] == "compress" and "--accept" not in words) or words[0] == "check"
        assert (left.value.code or 0) in ({0, ModelError.exit_code} if undecided else {0}), words

    def _curl(self, words: list[str]) -> None:
        """The request that curl would send."""
        url, options = words[0].replace(SERVER, self.server), dict(zip(words[1::2], words[2::2], strict=True))
        headers = dict(words[place + 1].split(": ", 1) for place, word in enumerate(words) if word == "-H")
        headers = {name: value.replace("$VERTUNE_KEY", os.environ["VERTUNE_KEY"]) for name, value in headers.items()}
        response = httpx.post(f"http://{url}", headers=headers, content=options["-d"], trust_env=False)
        assert response.status_code == 200, response.text
