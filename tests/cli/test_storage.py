"""backup, restore and forget: what they do on the command line, and what they say."""

from contextlib import closing

import pytest

from tests import databases
from tests.store.test_deletion import TEXT, entry
from vertune.cli import main
from vertune.core.errors import ConfigError, Conflict
from vertune.store import uploads
from vertune.store.database import FILE, Database
from vertune.store.traffic import write


@pytest.fixture
def home(tmp_path):
    """A home whose database contains two answers, one of them to the text of a person."""
    with closing(Database(databases.new(tmp_path / "home" / FILE))) as database, database.writing() as connection:
        write(connection, [entry(database), entry(database, text=TEXT)])
    return tmp_path / "home"


@pytest.fixture
def run(home, capsys):
    """Run a command in a home; returns its exit code and what it printed."""

    def call(*words, where=home):
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([*words, "--home", str(where)])
        said = capsys.readouterr()
        return left.value.code or 0, said.out + said.err

    return call


def test_a_text_is_forgotten(run, home):
    code, shown = run("forget", "--text", TEXT)
    assert code == 0
    assert "1 deleted" in shown
    assert TEXT not in shown
    assert "0 deleted" in run("forget", "--text", TEXT)[1]


def test_forget_needs_a_condition(run):
    for words, expected in (([], "No condition names"), (["--older-than", "yesterday"], "90d")):
        code, said = run("forget", *words)
        assert code == ConfigError.exit_code
        assert expected in said


def test_a_backup_is_restored(run, home, tmp_path):
    file = tmp_path / "a.tar"
    code, said = run("backup", str(file))
    assert code == 0
    assert "vertune restore" in said
    assert run("restore", str(file), where=tmp_path / "new")[0] == 0
    assert "1 deleted" in run("forget", "--text", TEXT, where=tmp_path / "new")[1]
    assert run("restore", str(file))[0] == Conflict.exit_code


def test_uploads_with_a_text_are_listed_and_deleted_if_asked(run, home):
    """The search runs in a process of its own, as on a server."""
    upload = uploads.Upload("0" * 32, "", "bank", "mine", "csv", hash="", bytes=1, report={})
    file = home / uploads.FOLDER / upload.file
    file.parent.mkdir()
    file.write_text(f"text,label\n{TEXT},a\nother,b\n")
    with closing(Database(home / FILE)) as database, database.writing() as connection:
        uploads.add(connection, upload, None)
    code, shown = run("forget", "--text", TEXT)
    assert (code, f"uploads that remain: {upload.id}" in shown, "--uploads" in shown) == (0, True, True)
    assert TEXT not in shown
    assert file.exists()
    assert "uploads that remain" not in run("forget", "--text", TEXT, "--uploads")[1]
    assert not file.exists()


def test_uploads_of_a_customer_are_deleted(run, home):
    upload = uploads.Upload("0" * 32, "", "shop", "mine", "csv", hash="", bytes=1, report={})
    file = home / uploads.FOLDER / upload.file
    file.parent.mkdir()
    file.write_text("text\na\n")
    with closing(Database(home / FILE)) as database, database.writing() as connection:
        uploads.add(connection, upload, None)
    assert "uploads" not in run("forget", "--customer", "bank")[1]
    assert file.exists()
    assert "uploads   1 deleted" in run("forget", "--customer", "shop")[1]
    assert not file.exists()
