"""`vertune retrain`: what it prints, and how it ends."""

import json

import polars as pl
import pytest

from tests.conftest import rows
from vertune.cli import main


def call(*words):
    with pytest.raises(SystemExit) as left:
        main(["retrain", *words])
    return left.value.code or 0


@pytest.fixture
def new(tmp_path):
    path = tmp_path / "new.csv"
    pl.DataFrame([{**row, "query": f"{row['query']} please"} for row in rows(40)]).write_csv(path)
    return str(path)


def test_a_candidate_is_trained_and_judged_and_nothing_is_moved(home, new, capsys):
    before = home.aliases()
    assert call("support", "--on", new, "--json") in (0, 7)
    found = json.loads(capsys.readouterr().out)
    assert sum(found["rows"].values()) == 40
    assert found["verdict"] in ("pass", "fail", "unknown")
    assert found["model"] != found["live"] == before["support@live"]
    assert home.aliases() == before
    assert {entry["name"] for entry in found["forgetting"]["slices"]} == {"first", "round 1"}


def test_the_table_names_what_became_of_rows_and_what_was_forgotten(home, new, capsys):
    assert call("support", "--on", new) in (0, 7)
    shown = capsys.readouterr().out
    for text in ("new rows", "train", "round 1", "gate"):
        assert text in shown


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("nobody",), 5, "There is no"), (("support", "--how", "anyhow"), 2, "no way 'anyhow'"),
        (("support", "--replace", "place"), 2, "expected OLD=NEW"), (("support", "--on", "missing.csv"), 5, "missing.csv"),
        (("support",), 5, "There is no database"),
    ],
)  # fmt: skip
def test_mistakes(home, capsys, monkeypatch, words, code, message):
    monkeypatch.delenv("VERTUNE_DATABASE", raising=False)
    assert call(*words) == code
    assert message in capsys.readouterr().err


def test_go_live_moves_the_alias_only_after_a_pass(home, new, capsys, monkeypatch):
    before = home.aliases()["support@live"]
    monkeypatch.delenv("VERTUNE_DATABASE", raising=False)
    code = call("support", "--on", new, "--go-live", "--json")
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert code == (0 if verdict == "pass" else 7)
    assert (home.aliases()["support@live"] == before) == (verdict != "pass")
