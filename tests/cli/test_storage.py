"""backup, restore and forget: what they do on the command line, and what they say."""

from contextlib import closing

import pytest

from tests.store.test_deletion import TEXT, entry
from vertune.cli import main
from vertune.core.errors import ConfigError, Conflict
from vertune.store.database import FILE, Database
from vertune.store.traffic import write


@pytest.fixture
def home(tmp_path):
    """A home whose database contains two answers, one of them to the text of a person."""
    with closing(Database(tmp_path / "home" / FILE)) as database, database.writing() as connection:
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
