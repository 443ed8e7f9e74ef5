"""Advice works when it is followed: every command and every option that a text names is one that the program takes.

The texts are those of the source (messages, warnings, help, report pages) and of the docs. Commands are parsed by the real command
line; options of the config are set in a config that `vertune init` would write.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from vertune.cli import application
from vertune.core import part
from vertune.core.config import Config, override
from vertune.core.parse import build
from vertune.server.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "vertune"
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").rglob("*.md") if "_built" not in page.parts)]
VALUE = "\N{BLACK SQUARE}"
"""Stands for each value that a text is formatted with."""
COMMAND = re.compile(
    r"""(?:(?<=: )|(?<=`)|(?<=^)|(?<=&& ))vertune (?P<rest>[a-z](?:"[^"]*"|'[^']*'|[^`;&\n("])*?)"""
    r"""(?=`|;|&|\(|\n|\.$|\. [A-Z]|, or |, then |$)""",
    re.MULTILINE,
)
SETTING = re.compile(r"--set (?:'(?P<quoted>[^']*)'|(?P<plain>[a-z_.]+=(?:\[[^\]]*\]|[^\s'\"`;,)]+)))")
OPTION = re.compile(
    r"(?<![\w./@-])(?P<key>(?:encoder|training|data|compress|device|evaluate)(?:\.[a-z_]+)+)(?:(?:=|: )(?P<value>\[[\w, ]*\]|[\w]+))?"
)
"""An option of the config in prose, with its value if one is named, as in `set encoder.truncation=window`."""
SERVER = {field.name for field in dataclasses.fields(Settings)}
"""Settings of `vertune serve --set`."""
HEADER = "signature "
"""What follows the program's name in the first line of a text that is signed, which is no command."""
MODULES = frozenset({"data.table", "data.csv", "data.jsonl", "data.parquet"})
CONFIG = {"name": "messages", "data": {"source": "messages.csv"}, "task": "classify", "base": "minilm", "method": "auto"}
"""What `vertune init` writes, without comments."""


@functools.cache
def texts() -> tuple[tuple[str, str], ...]:
    """Every text that a user can read, with its place; docstrings only of commands, whose help they are."""
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        place = file.relative_to(SOURCE).as_posix()
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found += [(f"{place}:{line}", text) for line, text in _strings(tree, help=place.startswith("cli/"))]
    for file in sorted((SOURCE / "reports" / "templates").glob("*")):
        found.append(
            (f"templates/{file.name}", re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", VALUE, file.read_text(encoding="utf-8"), flags=re.DOTALL))
        )
    found += [(page.relative_to(ROOT).as_posix(), _code(page.read_text(encoding="utf-8"))) for page in PAGES]
    return tuple(found)


def _code(page: str) -> str:
    """The shell lines and the code between backticks of a page, each on a line of its own."""
    blocks = re.findall(r"^```(?:sh|text)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    return "\n".join([*blocks, *re.findall(r"`([^`]+)`", prose)])


def _strings(tree: ast.Module, help: bool) -> Iterator[tuple[int, str]]:
    """The texts in a module, values replaced; those that stand alone as a statement are docstrings."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(value) for value in node.values}
        is_help = help and isinstance(node, ast.FunctionDef) and (node.name == "run" or bool(node.decorator_list))
        body = [] if is_help else getattr(node, "body", [])
        skipped |= {id(one.value) for one in (body if isinstance(body, list) else []) if isinstance(one, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(value.value) if isinstance(value, ast.Constant) else VALUE for value in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def advised_commands() -> list[tuple[str, str]]:
    found = [(place, match["rest"].strip()) for place, text in texts() for match in COMMAND.finditer(text.replace("\\\n", " "))]
    return [(place, rest) for place, rest in found if not rest.startswith(HEADER)]


@functools.cache
def command_line() -> Any:
    return typer.main.get_command(application())


def fault_of_command(rest: str) -> str | None:
    """What the command line would answer to a command; None if it takes it."""
    try:
        words = shlex.split(re.sub(rf"(--[a-z-]+){VALUE}", r"\1", rest), comments=True)
    except ValueError as error:
        return str(error)
    words = ["1" if word == VALUE else re.sub(r"^\[.*", "", word) for word in words if word not in {"…", "[OPTIONS]"}]
    command = command_line()
    while hasattr(command, "commands"):
        if not words:
            return None  # a group alone lists its commands
        name, *words = words
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    if "--help" in words or not words:  # `vertune predict` alone names the command
        return None
    try:
        command.make_context(command.name, [*words])
    except Exception as error:
        return str(getattr(error, "message", "")) or repr(error)
    return None


def fault_of_option(key: str, value: str | None, task: str = "classify") -> str | None:
    """What the config would answer to `--set key=value`; None if it takes it. Without a value, only the key is checked."""
    try:
        if value is not None:
            build(Config, override({**CONFIG, "task": task}, [f"{key}={value}"]))
            return None
        build(Config, override({**CONFIG, "task": task}, [f"{key}={_SENTINEL}"]))
    except Exception as error:
        known = value is None and not re.search(r"Did you mean|no option|not an option|Unknown|unknown|Extra|extra", str(error))
        return None if known else str(error)
    return None


_SENTINEL = "[[1]]"
"""A value that hardly any option takes: the key is known if the error is about the value."""


def test_commands_are_found_in_every_kind_of_text() -> None:
    places = {place.split(":")[0] for place, _ in advised_commands()}
    assert {"cli/fit.py", "core/artifact.py", "reports/evaluation.py", "templates/card.md", "README.md", "docs/life.md"} <= places
    assert len(advised_commands()) > 100


@pytest.mark.parametrize(
    ("rest", "fine"),
    [
        ("fit run.yaml --set training.epochs=3", True), ("fit run.yaml --epochs 3", False), ("fitt run.yaml", False),
        ("alias messages@live", True), ("key create NAME --scope predict", True), ("key make NAME", False), ("compare A", False),
    ],
)  # fmt: skip
def test_a_wrong_command_is_found(rest: str, fine: bool) -> None:
    assert (fault_of_command(rest) is None) is fine


@pytest.mark.parametrize(
    ("key", "value", "fine"),
    [
        ("encoder.max_tokens", "16", True), ("encoder.max_token", "16", False), ("encoder.truncation", "windows", False),
        ("encoder.truncation", "window", True), ("training.epochs", None, True), ("training.epoch", None, False),
        ("data.split.test", "0.3", True), ("compress.chain", "[int8]", True), ("data.clean", "[duplicates]", True),
    ],
)  # fmt: skip
def test_a_wrong_option_is_found(key: str, value: str | None, fine: bool) -> None:
    assert (fault_of_option(key, value) is None) is fine


def test_every_command_that_a_text_names_is_taken() -> None:
    wrong = [f"{place}: vertune {rest}: {fault}" for place, rest in advised_commands() if (fault := fault_of_command(rest))]
    assert not wrong, "\n".join(wrong)


def test_every_option_that_a_text_names_is_taken() -> None:
    wrong = []
    for place, text in texts():
        for match in OPTION.finditer(re.sub(r"```python.*?```", "", text, flags=re.DOTALL)):
            key, value = match["key"], match["value"]
            if key.split(".")[-1] in {"py", "csv", "jsonl", "parquet", "md", "yaml", "json", "html"} or key in MODULES:
                continue
            if value and "=" not in match[0] and not match[0].endswith(("]", "true", "false", "auto", "never", "window", "float32")):
                value = None  # `training.epochs: …` in prose: the words after it are no value
            if fault := fault_of_option(key, value):
                wrong.append(f"{place}: {match[0]}: {fault}")
    assert not wrong, "\n".join(wrong)


def test_every_set_that_a_text_names_is_taken_and_quoted() -> None:
    wrong, seen = [], 0
    for place, text in texts():
        for match in SETTING.finditer(text):
            key, _, value = (match["quoted"] or match["plain"]).partition("=")
            if not re.fullmatch(r"[a-z_.]+", key) or key.partition(".")[0] in SERVER:
                continue
            seen += 1
            if match["plain"] and value[:1] in {"[", "{"}:
                wrong.append(f"{place}: {match[0]}: some shells read the brackets; put the setting into quotes")
            if key.startswith("method."):  # it depends on the method that the config names
                continue
            if fault := fault_of_option(key, None if VALUE in value or "…" in value else value, _task_of(place)):
                wrong.append(f"{place}: {match[0]}: {fault}")
    assert seen > 10
    assert not wrong, "\n".join(wrong)


def _task_of(place: str) -> str:
    """The task of the config that a page is about: that of its name, or the default."""
    name = Path(place).stem
    return name if name in part.names("tasks") else str(CONFIG["task"])


def test_every_extra_that_a_text_names_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    named = {
        (place, extra)
        for place, text in texts()
        for names in re.findall(r"pip install [^\n]*?vertune\[([\w,-]+)\]", text)
        for extra in names.split(",")
    }
    assert named
    assert not {(place, extra) for place, extra in named if extra not in extras}


@pytest.mark.parametrize(("kind", "default"), [("encoders", "text"), ("tasks", "classify"), ("splits", "stratified")])
def test_an_option_of_a_default_part_needs_no_name(kind: str, default: str) -> None:
    """`--set encoder.max_tokens=16` works on a config that names no encoder."""
    key = {"encoders": "encoder", "tasks": "task", "splits": "data.split"}[kind]
    plain = {"data": {"source": "messages.csv"}}
    for option, field in part.find(kind, default).model_fields.items():
        value = field.get_default(call_default_factory=True)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            config = build(Config, override(plain, [f"{key}.{option}={value}"]))
            found = config.data.split if kind == "splits" else getattr(config, key)
            assert found.name == default
            assert getattr(found, option) == value
