from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vertune.core.edits import EDIT_KINDS, Edit
from vertune.core.errors import StorageError
from vertune.nn import delta

names = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=8)
tensors = st.dictionaries(names, st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=4).map(torch.tensor), max_size=3)
edits = st.builds(
    Edit,
    st.sampled_from(EDIT_KINDS),
    names,
    st.integers(0, 30),
    tensors,
    st.dictionaries(names, st.floats(allow_nan=False, allow_infinity=False), max_size=2),
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(edits, max_size=4))
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, saved: list[Edit]) -> None:
    delta.save(tmp_path, saved)
    loaded = delta.load(tmp_path)
    assert len(loaded) == len(saved)
    for old, new in zip(saved, loaded, strict=True):
        assert (old.kind, old.site, old.depth, old.options) == (new.kind, new.site, new.depth, new.options)
        assert old.tensors.keys() == new.tensors.keys()
        assert all(torch.equal(old.tensors[name], new.tensors[name]) for name in old.tensors)


def test_tensors_that_share_memory_or_are_views_are_saved(tmp_path: Path) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    delta.save(tmp_path, [Edit("head", "a", 1, {"weight": whole.T, "twin": whole})])
    (loaded,) = delta.load(tmp_path)
    assert torch.equal(loaded.tensors["weight"], whole.T)
    assert torch.equal(loaded.tensors["twin"], whole)


def write(folder: Path) -> None:
    delta.save(folder, [Edit("head", "head", 3, {"weight": torch.ones(2, 2)})])


def test_a_damaged_delta_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    file = tmp_path / delta.TENSORS
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(StorageError, match="can't be read"):
        delta.load(tmp_path)


@pytest.mark.parametrize("missing", [delta.TENSORS, delta.EDITS])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    write(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(StorageError, match=missing if missing == delta.EDITS else "can't be read"):
        delta.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"), [({"kind": "spell"}, "unknown kinds"), ({"tensors": []}, "does not list"), ({"tensors": ["other"]}, "read")]
)
def test_files_that_disagree_are_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    write(tmp_path)
    file = tmp_path / delta.EDITS
    (entry,) = json.loads(file.read_text())
    file.write_text(json.dumps([{**entry, **change}]))
    with pytest.raises(StorageError, match=said):
        delta.load(tmp_path)
