"""Only regular files below a folder are read, and no link, pipe or `..` leads anywhere else."""

from __future__ import annotations

import os
import shutil
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.core.errors import StorageError
from vertune.core.regular import check_tree, is_present, real_folder, regular_file


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "model"
    (made / "base").mkdir(parents=True)
    (made / "base" / "words.json").write_text("{}")
    (made / "card.md").write_text("a card")
    (tmp_path / "secret").write_text("a secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "words.json").write_text("{}")
    return made


def test_regular_files_are_found(folder):
    assert regular_file(folder, "base", "words.json") == folder / "base" / "words.json"
    assert real_folder(folder, "base") == folder / "base"
    check_tree(folder)
    check_tree(folder, "base")
    check_tree(folder, "card.md")
    check_tree(folder, "nothing")
    assert is_present(folder, "base", "words.json")
    assert not is_present(folder, "nothing")


def _link(path, folder):
    path.symlink_to(folder.parent / "secret")


def _dangling(path, folder):
    path.symlink_to(folder / "nothing")


def _inner(path, folder):
    path.symlink_to(folder / "base" / "words.json")


def _socket(path, folder):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.fspath(path))


WAYS = {
    "a symbolic link to a file outside": (_link, "a symbolic link"), "a link to nothing": (_dangling, "a symbolic link"),
    "a link to a file inside": (_inner, "a symbolic link"), "a folder": (lambda path, folder: path.mkdir(), "a folder"),
    "a pipe": (lambda path, folder: os.mkfifo(path), "a named pipe"), "a socket": (_socket, "a socket"),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_regular_file_is_refused(folder, way, monkeypatch):
    monkeypatch.chdir(folder.parent)  # the name of a socket may have about 100 characters
    make, what = WAYS[way]
    (folder / "card.md").unlink()
    make((folder / "card.md").relative_to(folder.parent), folder)
    with pytest.raises(StorageError, match=what):
        regular_file(folder, "card.md")
    if way != "a folder":
        with pytest.raises(StorageError, match=what):
            check_tree(folder)


def test_a_link_in_the_middle_is_refused(folder):
    shutil.rmtree(folder / "base")
    (folder / "base").symlink_to(folder.parent / "outside")
    for check in (regular_file, real_folder, check_tree):
        with pytest.raises(StorageError, match="base is a symbolic link; expected a folder"):
            check(folder, "base", "words.json")
    with pytest.raises(StorageError, match="a symbolic link"):
        check_tree(folder)


@given(st.text(max_size=5), st.sampled_from(["", ".", "..", "/", "../secret", "a/b", "/etc/passwd", "\0"]), st.text(max_size=5))
def test_no_name_leads_out_of_the_folder(tmp_path_factory, before, separator, after):
    folder = tmp_path_factory.getbasetemp() / "named" / "inner"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{before}{separator}{after}"
    with pytest.raises(StorageError) as error:
        regular_file(folder, name)
    assert str(error.value).isprintable()


def test_a_file_that_is_too_large_is_refused(folder):
    assert regular_file(folder, "card.md", limit=6)
    with pytest.raises(StorageError, match="has 6 bytes; at most 5"):
        regular_file(folder, "card.md", limit=5)


def test_names_can_not_change_what_a_terminal_shows(folder):
    os.mkfifo(folder / "\x1b[2Jred\n")
    with pytest.raises(StorageError) as error:
        check_tree(folder)
    assert str(error.value).isprintable()
