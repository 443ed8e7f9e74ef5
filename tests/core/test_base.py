"""Where a base is looked for, and what is said where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from vertune.core import base
from vertune.core.errors import NotFound


@pytest.mark.parametrize("name", ["bert-base-chinese", "google-bert/bert-base-chinese", "minilmm"])
def test_a_name_with_or_without_an_owner_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked = []

    def unreachable(repo: str, **options: object) -> str:
        asked.append((repo, options.get("local_files_only", False)))
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", unreachable)
    with pytest.raises(NotFound, match="can't be reached") as error:
        base.resolve(name)
    assert asked == [(name, True), (name, False)]
    assert ("Did you mean 'minilm'?" in str(error.value)) == (name == "minilmm")


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a b/c", "a/b/c", "文/x", "../x", "owner/", ""])
def test_what_can_be_no_hub_id_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises((NotFound, base.ConfigError), match="base"):
        base.resolve(name)
