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


def test_a_candidate_is_trained_once_and_goes_live_only_if_it_may(home, new, capsys, monkeypatch):
    monkeypatch.delenv("VERTUNE_DATABASE", raising=False)
    before = home.aliases()
    code = call("support", "--on", new, "--json")
    found = json.loads(capsys.readouterr().out)
    assert sum(found["rows"].values()) == 40
    assert found["verdict"] in ("pass", "fail", "unknown")
    assert code == (7 if found["verdict"] == "fail" else 0)
    assert found["model"] != found["live"] == before["support@live"]
    assert {entry["name"] for entry in found["forgetting"]["slices"]} == {"first", "round 1"}
    assert home.aliases() == before
    assert call("support", "--on", new) == code
    shown = capsys.readouterr().out
    for text in ("new rows", "train", "round 1", "gate", found["model"]):  # nothing was made again
        assert text in shown
    assert call("support", "--on", new, "--go-live", "--json") == (0 if found["verdict"] == "pass" else 7)
    assert home.aliases()["support@live"] == found["model" if found["verdict"] == "pass" else "live"]


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
