"""Feedback as training records: what is read of it, and what is left out."""

import json
from contextlib import closing
from datetime import UTC, datetime

import pytest

from tests import databases
from vertune.core.errors import ConfigError, DataError, NotFound
from vertune.core.ids import first_id_at, time_ordered_id
from vertune.sources.feedback import Feedback
from vertune.store.database import Database, file_in, format_time
from vertune.store.feedback import add


def store(folder, text, label="card", **changes):
    row = {
        "id": time_ordered_id(), "at": format_time(datetime.now(UTC)), "customer": "default", "vertical": "support", "trust": 1.0,
        "record": text and json.dumps({"text": text}), "target": label and json.dumps({"label": label}), "digest": b"", **changes,
    }  # fmt: skip
    with closing(Database(databases.new(file_in(folder)))) as database:
        add(database, row)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("VERTUNE_DATABASE", raising=False)
    store(tmp_path, "old", id=first_id_at(datetime(2020, 5, 1, tzinfo=UTC).timestamp()))
    store(tmp_path, "mine", author="Ann", trust=0.5)
    store(tmp_path, "theirs", customer="bank")
    store(tmp_path, "other", vertical="mood")
    store(tmp_path, None)
    store(tmp_path, "no target", None)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        ({}, ["old", "mine", "theirs"]), ({"vertical": "mood"}, ["other"]), ({"customer": "bank"}, ["theirs"]),
        ({"author": "Ann"}, ["mine"]), ({"trust": 0.6}, ["old", "theirs"]), ({"since": "2021-01-01"}, ["mine", "theirs"]),
        ({"since": "2020-05-01T00:00:00+00:00", "customer": "default"}, ["mine"]),
    ],
)  # fmt: skip
def test_what_is_read(home, options, texts):
    frame = Feedback(**{"vertical": "support", "home": str(home), **options}).read()
    assert frame["text"].to_list() == texts
    assert set(frame["label"]) == {"card"}
    assert {"feedback_author", "feedback_trust", "feedback_at", "__file", "__row", "__error"} <= set(frame.columns)


def test_more_than_a_page_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("vertune.store.feedback.PAGE", 2)
    for number in range(5):
        store(tmp_path, str(number))
    assert Feedback(vertical="support", home=str(tmp_path)).read()["text"].to_list() == [*"01234"]


def test_what_can_not_be_read(home, tmp_path):
    with pytest.raises(DataError, match="no feedback on 'nobody'"):
        Feedback(vertical="nobody", home=str(home)).read()
    with pytest.raises(NotFound, match="no database of a server"):
        Feedback(vertical="support", home=str(tmp_path / "elsewhere")).read()
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(ConfigError, match="2030-01-31"):
        Feedback(vertical="support", since="yesterday")
