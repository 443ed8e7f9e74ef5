"""Hashes of files: every change of a listed file is found, and nothing else is called a change."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.core import integrity
from vertune.core.artifact import Artifact, Home
from vertune.core.errors import StorageError

CONTENT = {"a.bin": b"\x00\x01\x02 first", "sub/b.bin": b"second", "sub/deep/c.json": b'{"x": 1}'}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Artifact:
    home = Home(tmp_path_factory.mktemp("home"))
    run = home.begin("models", "made", config={"labels": ["a", "b"], "rate": 1e-3})
    for name, content in CONTENT.items():
        (run.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (run.folder / name).write_bytes(content)
    run.event("told")
    return home.finish(run, metrics={"validation": {"accuracy": 0.1 + 0.2}})


def restore(artifact: Artifact) -> None:
    for name, content in CONTENT.items():
        (artifact.folder / name).write_bytes(content)


def test_every_file_is_listed_but_those_that_grow(finished):
    assert finished.manifest["files"].keys() == CONTENT.keys()
    finished.event("later")
    finished.check_files(CONTENT)
    finished.check_files(subfolder="sub")


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(CONTENT)), place=st.integers(0, 7), bit=st.integers(0, 7), cut=st.booleans())
def test_any_bit_that_flips_and_any_cut_is_found_and_names_the_file(finished, name, place, bit, cut):
    content = bytearray(CONTENT[name])
    place %= len(content)
    if cut:
        del content[place:]
    else:
        content[place] ^= 1 << bit
    (finished.folder / name).write_bytes(content)
    try:
        with pytest.raises(StorageError, match="has changed") as told:
            finished.check_files([name])
        assert str(finished.folder / name) in str(told.value)
    finally:
        restore(finished)
    finished.check_files([name])


def test_what_is_missing_or_was_put_there_is_refused(finished):
    with pytest.raises(StorageError, match=r"other\.bin is not listed"):
        finished.check_files(["other.bin"])
    stray = finished.folder / "sub" / "stray.json"
    stray.write_text("{}")
    with pytest.raises(StorageError, match=r"stray\.json is not listed"):
        finished.check_files(subfolder="sub")
    stray.rename(stray.with_name(".hidden"))  # what editors and file managers leave is nobody's harm
    finished.check_files(subfolder="sub")
    (finished.folder / "a.bin").unlink()
    with pytest.raises(StorageError, match=r"a\.bin is missing"):
        finished.check_files(["a.bin"])
    restore(finished)


def test_a_manifest_that_was_edited_is_found_and_one_that_was_updated_is_not(finished):
    before = finished.manifest
    finished.update(note="later")
    assert finished.verified()["note"] == "later"
    changed = json.loads(json.dumps(finished.manifest))
    changed["config"]["labels"].reverse()
    (finished.folder / "manifest.json").write_text(json.dumps(changed))
    for read in (finished.verified, finished.check_files, lambda: finished.update(note="laundered")):
        with pytest.raises(StorageError, match=r"manifest\.json has changed"):
            read()
    (finished.folder / "manifest.json").write_text(json.dumps(before))


def test_artifacts_without_hashes_are_not_checked(tmp_path):
    (tmp_path / "manifest.json").write_text('{"format": 1, "id": "old"}')
    old = Artifact(tmp_path)
    old.check_files(["absent.bin"], "absent")
    old.update(more=1)
    assert old.verified() == {"format": 1, "id": "old", "more": 1}


def test_a_file_is_hashed_once_until_it_changes(tmp_path, monkeypatch):
    hashed: list[str] = []
    real = integrity.file_hash
    monkeypatch.setattr(integrity, "file_hash", lambda path: hashed.append(path.name) or real(path))
    file = tmp_path / "x"
    file.write_bytes(b"one")
    assert integrity.cached_hash(file) == integrity.cached_hash(file)
    assert len(hashed) == 1
    status = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # the same size and time: what copying tools restore
    assert integrity.cached_hash(file) == real(file)
    assert len(hashed) == 2
