"""deploy, promote, rollback and history: what they change, and what they say."""

import json
from contextlib import closing

import pytest

from tests.cli.test_main import leave
from vertune.core.artifact import Home
from vertune.core.errors import ConfigError, Conflict, NotFound
from vertune.core.files import write_json
from vertune.core.sentence import said
from vertune.steps.deploy import Versions
from vertune.store import rollouts
from vertune.store.database import Database


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with three models of one task, prepared for serving as far as a command looks, and one of another task."""
    monkeypatch.setenv("VERTUNE_HOME", str(tmp_path / "home"))
    for number, task in ((1, "classify"), (2, "classify"), (3, "classify"), (4, "tag")):
        folder = tmp_path / "home" / "models" / f"support-20300101-00000{number}-000{number}"
        folder.mkdir(parents=True)
        write_json(
            folder / "manifest.json",
            {"name": "support", "created": f"2030-01-0{number}", "format": 1, "parents": [], "config": {"task": {"name": task}}},
        )
        if number != 3:
            (folder / "model.onnx").write_bytes(b"")
    return tmp_path / "home"


def model(number):
    return f"support-20300101-00000{number}-000{number}"


@pytest.fixture
def run(home, capsys):
    def call(*words):
        capsys.readouterr()
        code = leave(list(words))
        said = capsys.readouterr()
        return code or 0, said.out + said.err

    return call


@pytest.fixture
def live(home):
    return lambda: (home / "aliases" / "support@live").read_text().strip()


def test_a_model_goes_live_and_back(run, live):
    assert run("deploy", "support", model(1), "--reason", "the first")[0] == 0
    assert run("deploy", "support", model(2))[0] == 0
    assert live() == model(2)
    assert model(1) in run("rollback", "support", "--reason", "slow")[1]
    assert live() == model(1)
    told = json.loads(run("history", "support", "--json")[1])
    assert [(one["action"], one["model"], one["previous"], one["reason"]) for one in told] == [
        ("roll back", model(1), model(2), "slow"), ("deploy", model(2), model(1), ""), ("deploy", model(1), None, "the first"),
    ]  # fmt: skip
    assert {one["actor"] for one in told} == {"command line"}
    assert "slow" in run("history", "support")[1]
    assert run("rollback", "support")[0] == NotFound.exit_code


def test_the_reasons_of_a_server_are_written_in_words(run, home):
    assert run("deploy", "support", model(1))[0] == 0
    with closing(Database.of_home(home)) as database:
        Versions(Home(home), database, "this server").deploy("support", model(2), said("rollout.promoted", answers=1000))
    assert json.loads(run("history", "support", "--json")[1])[0]["reason"] == "Nothing spoke against the candidate in 1000 answers."
    assert "Nothing spoke" in run("history", "support")[1]


def test_of_two_servers_that_decide_at_the_same_time_one_ends_a_rollout(run, home, live, monkeypatch):
    run("deploy", "support", model(1))
    run("deploy", "support", model(2), "--canary", "5%")
    with closing(Database.of_home(home)) as database:
        with database.reading() as connection:
            (rollout,) = rollouts.running(connection).values()
        monkeypatch.setattr(rollouts, "running", lambda connection: {"support": rollout})  # as both read it before one ended it
        Versions(Home(home), database, "one server").promote("support", expected=rollout)
        other = Versions(Home(home), database, "another server")
        assert not other.cancel(rollout, "it is worse")
        with pytest.raises(NotFound):
            other.promote("support", expected=rollout)
        with pytest.raises(Conflict, match="has just ended"):
            other.roll_back("support")
    assert live() == model(2)
    assert [one["action"] for one in json.loads(run("history", "support", "--json")[1])] == ["promote", "canary", "deploy"]


def test_a_canary_is_promoted_or_taken_back(run, live):
    run("deploy", "support", model(1))
    code, said = run("deploy", "support", model(2), "--canary", "5%", "--promote-after", "1000")
    assert code == 0, said
    assert live() == model(1)
    assert run("promote", "support")[0] == 0
    assert live() == model(2)
    assert run("promote", "support")[0] == NotFound.exit_code
    run("deploy", "support", model(1), "--shadow")
    assert model(1) in run("rollback", "support")[1]
    assert live() == model(2)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["2", "--canary", "0%"], ConfigError), (["2", "--canary", "150%"], ConfigError), (["2", "--canary", "a few"], ConfigError),
        (["2", "--canary", "5%", "--shadow"], ConfigError), (["1", "--canary", "5%"], Conflict), (["3", "--shadow"], Conflict),
        (["4", "--shadow"], ConfigError),
    ],
)  # fmt: skip
def test_what_can_not_be_compared(run, live, words, code):
    run("deploy", "support", model(1))
    assert run("deploy", "support", model(int(words[0])), *words[1:])[0] == code.exit_code
    assert len(json.loads(run("history", "support", "--json")[1])) == 1


@pytest.mark.parametrize("words", [["deploy", "support"], ["alias", "support@live"]])
@pytest.mark.parametrize("kept", [True, False])
def test_a_model_of_another_task_goes_live_only_if_asked_for(run, live, home, words, kept):
    run(*(["deploy", "support"] if kept else ["alias", "support@live"]), model(1))
    assert (home / "server.db").exists() is kept
    code, said = run(*words, model(4))
    assert code == ConfigError.exit_code
    assert f"The task of {model(4)} is tag; expected classify" in said
    assert live() == model(1)
    assert run(*words, model(4), "--another-task")[0] == 0
    assert live() == model(4)
    assert run("alias", "support@old", model(1))[0] == 0, "only what is live is compared"


def test_a_model_that_reads_other_fields_goes_live_only_if_asked_for(run, live, home):
    run("deploy", "support", model(1))
    manifest = json.loads((home / "models" / model(2) / "manifest.json").read_text())
    task = {"name": "classify", "inputs": {"age": "number", "job": "category"}}
    write_json(home / "models" / model(2) / "manifest.json", {**manifest, "config": {"task": task}})
    code, said = run("deploy", "support", model(2))
    assert code == ConfigError.exit_code
    assert "with the fields age (number), job (category); expected classify with the fields text (text)" in " ".join(said.split())
    assert run("deploy", "support", model(2), "--canary", "5%")[0] == ConfigError.exit_code
    assert run("deploy", "support", model(2), "--another-task")[0] == 0
    assert live() == model(2)


def test_what_does_not_exist(run):
    assert run("deploy", "support", "nobody")[0] == NotFound.exit_code
    assert run("deploy", "support", model(2), "--shadow")[0] == NotFound.exit_code, "nothing is live"
    assert run("promote", "support")[0] == NotFound.exit_code
    assert "no change" in run("history", "support")[1]


def test_an_alias_is_part_of_the_history_where_a_server_keeps_one(run, live, home):
    assert run("alias", "support@live", model(1))[0] == 0
    assert not (home / "server.db").exists()
    assert run("deploy", "support", model(2))[0] == 0
    assert model(2) in run("alias", "support@live", model(1))[1], "it tells what it pointed to before"
    assert run("alias", "support@old", model(2))[0] == 0
    told = json.loads(run("history", "support", "--json")[1])
    assert [(one["action"], one["model"], one["previous"]) for one in told] == [
        ("deploy", model(1), model(2)), ("deploy", model(2), model(1)),
    ]  # fmt: skip
    assert run("rollback", "support")[0] == 0
    assert live() == model(2)
