"""The command line as a whole: quick help, light imports, errors as one sentence with the exit code of their class."""

import gc
import importlib
import os
import subprocess
import sys

import pytest

from vertune import cli
from vertune.cli import main
from vertune.core import errors

HEAVY = ["torch", "transformers", "sklearn", "polars", "numpy", "peft", "accelerate"]


def python(*words, **env):
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **env},
    )  # fmt: skip


def leave(words):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as left:
        main(words)
    return left.value.code


@pytest.mark.parametrize("words", [["--help"], ["parts"], ["--version"]])
def test_what_is_asked_most_imports_nothing_heavy(words):
    code = (
        "import sys\nfrom vertune.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as left:\n    assert not left.code, left.code\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("HEAVY []")


def test_python_dash_m():
    done = python("-m", "vertune", "--version")
    assert done.stdout.startswith("vertune ")


def test_every_file_of_a_command_is_in_the_help(capsys):
    from pathlib import Path

    named = list(cli.commands())
    shared = {"__init__", "options", "output", "progress"}
    files = {path.stem for path in Path(cli.__file__).parent.glob("*.py")} - shared
    assert sorted(named) == sorted(files)
    assert leave(["--help"]) in (0, None)
    shown = capsys.readouterr().out
    assert all(f" {name} " in shown for name in named)


@pytest.mark.parametrize("name", list(cli.commands()))
def test_every_command_has_help_that_fits_the_list(name, capsys):
    first = (importlib.import_module(f"vertune.cli.{name}").run.__doc__ or "").split("\n")[0]
    assert 10 < len(first) <= 58
    assert leave([name, "--help"]) in (0, None)
    assert "Usage: vertune" in capsys.readouterr().out


def test_help_breaks_its_lines_where_the_terminal_ends(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "600")
    assert leave(["label", "--help"]) in (0, None)
    paragraph = (cli.label.run.__doc__ or "").split("\n\n")[1]
    assert " ".join(paragraph.split()) in capsys.readouterr().out


@pytest.mark.parametrize(
    "error",
    [
        errors.ConfigError("a"), errors.UnknownName("part", "lorra", ["lora"]), errors.DataError("b"), errors.MissingExtra("X", "train"),
        errors.NotFound("c"), errors.Conflict("d"), errors.ModelError("e"), errors.AccessError("f"), errors.Busy("g"),
        errors.StorageError("h"),
    ],
)  # fmt: skip
def test_an_error_is_one_sentence_and_its_exit_code(error, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("vertune.core.artifact.Home.read_aliases", fail)
    assert leave(["alias"]) == error.exit_code
    said = capsys.readouterr()
    assert said.err == f"Error: {error}\n"
    assert not said.out


def test_debug_shows_the_traceback(monkeypatch):
    def fail(*_, **__):
        raise errors.ConfigError("a")

    monkeypatch.setattr("vertune.core.artifact.Home.read_aliases", fail)
    for words in (["--debug", "alias"], ["alias", "--debug"]):
        with pytest.raises(errors.ConfigError):
            main(words)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 4, r"pip install 'vertune\[train\]'"),
        (PermissionError(13, "Permission denied", "/x"), 10, "Can't read or write /x"),
        (ZeroDivisionError("division by zero"), 1, "a bug in vertune"),
    ],
)
def test_what_was_not_foreseen_is_said_in_one_sentence_too(error, code, said, monkeypatch, capsys):
    import re

    def fail(*_, **__):
        raise error

    monkeypatch.setattr("vertune.core.artifact.Home.read_aliases", fail)
    assert leave(["alias"]) == code
    shown = capsys.readouterr().err
    assert re.search(said, shown)
    assert shown.count("\n") == 1


def test_heavy_imports_of_a_command_are_seldom_searched_for_garbage():
    """Importing what a training needs takes a fifth longer with the threshold that Python starts with."""
    before = gc.get_threshold()
    try:
        gc.set_threshold(700, 10, 10)
        assert leave(["--version"]) in (0, None)
        assert gc.get_threshold() == (20_000, 20, 20)
    finally:
        gc.set_threshold(*before)


def test_a_wrong_option_leaves_with_the_code_of_a_config_error(capsys):
    assert leave(["train", "--no-such-option"]) == errors.ConfigError.exit_code
    capsys.readouterr()


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("cp1252", marks=pytest.mark.matrix), "utf-8"])
def test_output_that_can_not_show_a_character_loses_no_work(tmp_path, encoding):
    file = tmp_path / "订单.csv"
    file.write_text("text,label\n" + "".join(f"轮胎坏了 {row},{'轮刹'[row % 2]}\n" for row in range(40)), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": encoding, "COLUMNS": "200"}
    command = [sys.executable, "-m", "vertune", "init", file.name]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert ("轮" if encoding == "utf-8" else "\\u8f6e").encode(encoding) in done.stdout
