"""New folders: complete or not there, and never over something else."""

from __future__ import annotations

import subprocess

import pytest

from vertune.core.errors import Conflict
from vertune.core.files import new_folder


@pytest.fixture
def volume(tmp_path):
    """An empty volume that is mounted in a folder."""
    folder = tmp_path / "volume"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False).returncode:
        pytest.skip("this user can't mount a volume")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder) -> None:
    with new_folder(folder) as temporary:
        (temporary / "models").mkdir()
        (temporary / "models" / "one").write_text("1")
        assert not (folder / "models").exists()


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_appears_complete(tmp_path, exists) -> None:
    folder = tmp_path / "outer" / "new"
    if exists:
        folder.mkdir(parents=True)
    fill(folder)
    assert [path.relative_to(folder.parent).as_posix() for path in sorted(folder.parent.rglob("*"))] == [
        "new",
        "new/models",
        "new/models/one",
    ]


def test_the_root_of_a_volume_is_filled(volume) -> None:
    (volume / "lost+found").mkdir()
    fill(volume)
    assert sorted(path.name for path in volume.iterdir()) == ["lost+found", "models"]
    with pytest.raises(Conflict, match="not empty"):
        fill(volume)


def test_what_fails_leaves_nothing(tmp_path) -> None:
    def fail() -> None:
        with new_folder(tmp_path / "new") as temporary:
            (temporary / "half").write_text("1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["lost+found", "file"])
def test_nothing_is_replaced(tmp_path, name) -> None:
    (tmp_path / name).write_text("kept")
    with pytest.raises(Conflict, match="not empty"), new_folder(tmp_path):
        pass
    assert (tmp_path / name).read_text() == "kept"
