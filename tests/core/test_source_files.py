"""Which source files a decoder needs, and how a bundle imports them without touching an installed package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vertune import exports
from vertune.core import part
from vertune.core.errors import ConfigError
from vertune.core.source_files import source_files

PORTABLE = Path(exports.__file__).parent / "portable"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `grading` with the modules that a test writes."""
    folder = tmp_path / "grading"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)

    def write(**modules: str) -> None:
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] == "grading"]:
        del sys.modules[name]


@pytest.mark.parametrize("task", part.names("tasks"))
def test_every_decoder_of_ours_needs_few_files(task):
    files = source_files(part.find("tasks", task).decoder)
    assert set(files) <= {
        *(f"vertune.decoders.{name}" for name in ("windows", "bio", "classify", "multilabel", "regress", "embed", "tag", "extract")),
        "vertune.metrics.words", "vertune.core.errors",
    }  # fmt: skip
    assert all(file.read_text().strip() for file in files.values())


def test_imports_are_followed_into_the_own_package_and_vertune_alone(package):
    package(
        decoder="import json\nfrom typing import TYPE_CHECKING\nimport numpy as np\nfrom grading.scale import steps\n"
        "from vertune.decoders import windows\nif TYPE_CHECKING:\n    from pydantic import BaseModel\n",
        scale="from grading import words\nsteps = 3\n",
        words="WORDS = ('low', 'high')\n",
    )
    assert set(source_files("grading.decoder")) == {
        "grading.decoder", "grading.scale", "grading.words", "vertune.decoders.windows",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import polars as pl\n", "imports 'polars', but exported code may import only NumPy"),
        ("def decode():\n    from pydantic import BaseModel\n", "imports 'pydantic'"),
        ("from vertune.core.kinds import Task\n", r"vertune\.core\.\w+ imports '(pydantic|polars|torch)'"),
        ("from . import scale\n", "has a relative import"),
        ("import grading.scale\n", "has `import grading.scale`"),
        ("from grading.nothing import x\n", "grading.nothing"),
    ],
)
def test_what_can_not_be_shipped_is_refused(package, text, reason):
    package(decoder=text, scale="")
    with pytest.raises(ConfigError, match=reason):
        source_files("grading.decoder")


def test_a_bundle_imports_the_files_under_names_of_their_own(package, tmp_path):
    package(
        decoder="from dataclasses import dataclass\nfrom grading import words\nfrom vertune.decoders.windows import softmax\n"
        "@dataclass(slots=True)\nclass Grade:\n    name: 'str'\n\ndef decode():\n    return Grade(words.WORDS[callable(softmax)])\n",
        words="WORDS = ('low', 'high')\n",
    )
    bundle = tmp_path / "bundle" / "parts"
    bundle.mkdir(parents=True)
    (bundle / "__init__.py").write_text((PORTABLE / "parts" / "__init__.py").read_text())
    for name, file in source_files("grading.decoder").items():
        (bundle / f"{name}.py").write_text(file.read_text())
    code = (
        "import sys, parts; print(parts.load('grading.decoder').decode().name); "
        "assert parts.load('grading.decoder') is parts.load('grading.decoder'); "
        "assert not {'grading', 'vertune'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=bundle.parent, env={}, capture_output=True, text=True, check=False)
    assert done.stdout == "high\n", done.stderr
