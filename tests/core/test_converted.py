"""Converting a packaged model once into the cache: what is checked, and what is left after a failure."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from vertune.core import converted
from vertune.core.converted import Conversion, find_or_convert
from vertune.core.errors import MissingExtra, ModelError, StorageError

CONTENT = b"weights in some format"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(file: Path, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(file.read_bytes()[::-1])


@pytest.fixture
def conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conversion:
    """A package on the path whose code must never run, and an empty cache."""
    package = tmp_path / "site" / "packed_base"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('the code of the package ran')\n")
    (package / "base.bin").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Conversion("packed_base", "base.bin", sha(CONTENT), "zh", write, {"model.safetensors": sha(CONTENT[::-1])})


def test_a_model_is_converted_once(conversion: Conversion, tmp_path: Path) -> None:
    calls = []

    def counted(file: Path, folder: Path) -> None:
        calls.append(file)
        write(file, folder)

    counting = replace(conversion, convert=counted)
    folder = find_or_convert("packed", counting)
    assert folder == find_or_convert("packed", counting)
    assert len(calls) == 1
    assert folder.parent == tmp_path / "cache" / "vertune" / "bases"
    assert folder.name == f"packed-{sha(CONTENT[::-1])[:8]}"


def test_a_converted_model_needs_the_package_no_more(conversion: Conversion) -> None:
    folder = find_or_convert("packed", conversion)
    assert find_or_convert("packed", replace(conversion, package="not_installed")) == folder


def test_a_missing_package_is_named_with_the_command(conversion: Conversion) -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'vertune\[zh\]'"):
        find_or_convert("packed", replace(conversion, package="not_installed"))
    assert not converted.cache_folder().exists()


def test_a_changed_file_of_the_package_is_refused(conversion: Conversion, tmp_path: Path) -> None:
    (tmp_path / "site" / "packed_base" / "base.bin").write_bytes(CONTENT + b"!")
    with pytest.raises(ModelError, match="expected the SHA-256"):
        find_or_convert("packed", conversion)
    assert not converted.cache_folder().exists()


def test_an_unexpected_result_is_not_stored(conversion: Conversion) -> None:
    with pytest.raises(ModelError, match=r"model\.safetensors with the SHA-256"):
        find_or_convert("packed", replace(conversion, results={"model.safetensors": "0" * 64}))
    assert [path.name for path in converted.cache_folder().iterdir()] == [".lock"]


def test_an_error_in_between_leaves_nothing(conversion: Conversion) -> None:
    def broken(file: Path, folder: Path) -> None:
        write(file, folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_or_convert("packed", replace(conversion, convert=broken))
    assert [path.name for path in converted.cache_folder().iterdir()] == [".lock"]


def test_a_killed_conversion_leaves_no_model_and_the_next_one_removes_its_files(conversion: Conversion, tmp_path: Path) -> None:
    code = (
        "import os, sys; from vertune.core import converted as c\n"
        "def convert(file, folder):\n    (folder / 'model.safetensors').write_bytes(b'half'); os._exit(9)\n"
        f"c.find_or_convert('packed', c.Conversion('packed_base', 'base.bin', {conversion.sha256!r}, 'zh', convert, "
        f"{conversion.results!r}))"
    )
    paths = os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}).returncode == 9
    assert all(path.name.startswith(".") for path in converted.cache_folder().iterdir())
    folder = find_or_convert("packed", conversion)
    assert sorted(path.name for path in folder.parent.iterdir()) == [".lock", folder.name]


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX")
def test_a_cache_that_can_not_be_written_is_named(conversion: Conversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="XDG_CACHE_HOME"):
        find_or_convert("packed", conversion)


def test_a_relative_cache_folder_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert converted.cache_folder() == tmp_path / ".cache" / "vertune" / "bases"
