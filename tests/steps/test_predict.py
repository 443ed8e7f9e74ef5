"""Answers keep the order and number of rows, whatever the columns are called and whatever can't be answered."""

import json
from dataclasses import replace

import polars as pl
import pytest

from vertune.core.artifact import Home
from vertune.core.config import load
from vertune.core.errors import ConfigError, DataError, StorageError
from vertune.data.validate import record_of_texts, validate_records
from vertune.runtime.predictor import Predictor
from vertune.steps.evaluate import evaluate
from vertune.steps.fit import fit
from vertune.steps.predict import answer, predict, predict_file


@pytest.fixture(scope="module")
def predictor(fitted):
    return Predictor.open(fitted[1].model)


def test_rows_that_can_not_be_answered_keep_their_place(predictor):
    frame = pl.DataFrame(
        {"query": ["bread", None, "paris", "  "], "__error": [None, None, "is broken", None]}, schema_overrides={"__error": pl.String}
    )
    found = answer(predictor, frame)
    assert [one is None for one in found.answers] == [False, True, True, True]
    assert list(found.errors) == [1, 2, 3]
    assert found.errors[2] == "is broken"


def test_the_columns_of_targets_are_not_looked_at(predictor):
    plain = predict(predictor, [{"query": "bread"}])
    assert predict(predictor, [{"query": "bread", "kind": None, "label": 7}]) == plain


def test_batches_change_nothing(predictor, monkeypatch):
    texts = [{"text": f"bread and {place}"} for place in range(7)]
    expected = [one["label"] for one in predict(predictor, texts)]
    monkeypatch.setattr("vertune.steps.predict._CHUNK", 3)
    assert [one["label"] for one in predict(predictor, texts)] == expected


def test_texts_fill_the_inputs_in_their_order(predictor):
    pairs = replace(predictor, columns=("text", "text_pair", "label"))
    assert record_of_texts(pairs, ["a", "b"]) == {"text": "a", "text_pair": "b"}
    with pytest.raises(ConfigError, match="3 texts"):
        record_of_texts(pairs, ["a", "b", "c"])
    with pytest.raises(ConfigError, match="2 texts were given, but this model reads 1"):  # it was trained on single texts
        record_of_texts(predictor, ["a", "b"])


def test_a_column_that_is_missing_is_named(predictor):
    with pytest.raises(ConfigError, match="query"):
        predict(predictor, [{"body": "bread"}])


def test_bytes_that_were_not_decoded_are_refused(predictor):
    with pytest.raises(DataError, match="not valid Unicode"):
        predict(predictor, [{"text": b"\xb2\xe2".decode(errors="surrogateescape")}])


def test_a_file_is_written_whole_or_not_at_all(predictor, tmp_path, monkeypatch):
    given, out = tmp_path / "in.jsonl", tmp_path / "deep" / "out.jsonl"
    given.write_text('{"query": "bread", "more": [1, {"a": null}]}\n{"query": "rome", "more": []}\n')
    predict_file(predictor, given, out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["query"] for line in lines] == ["bread", "rome"]
    assert set(lines[0]["answer_probabilities"]) == {"food", "place"}
    before = out.read_text()
    monkeypatch.setattr("vertune.steps.predict.json.dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict_file(predictor, given, out)
    assert out.read_text() == before
    assert [path.name for path in out.parent.iterdir()] == ["out.jsonl"]


def test_what_can_not_be_written_is_said_before_the_work(predictor, table, tmp_path, monkeypatch):
    monkeypatch.setattr("vertune.steps.predict.answer", lambda *_: pytest.fail("answered first"))
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Can't write"):
        predict_file(predictor, table, tmp_path / "file" / "answers.csv")


def test_texts_are_edited_as_the_training_texts_were(run_yaml, tmp_path):
    home = Home(tmp_path)
    fitted = fit(load(run_yaml, ["data.clean=[{name: normalise, half_width: true}]", "training.time_limit=10"]), home)
    predictor = Predictor.open(fitted.model)
    plain, spoilt = "tell me of paris", " tell\u200b  me\tof ｐａｒｉｓ"
    expected = predict(predictor, [{"query": plain}])
    many = [{"query": spoilt}] * 100  # too many for the way that needs no frame
    assert predict(predictor, [{"query": spoilt}]) == expected
    assert [one["probability"] for one in predict(predictor, many)] == pytest.approx([expected[0]["probability"]] * 100)
    assert validate_records(predictor, [{"query": spoilt}]) == validate_records(predictor, many)[:1] == [{"text": plain}]
    frame = pl.DataFrame({"query": [spoilt, plain], "kind": ["place", "place"]})
    report = evaluate(fitted.model, home, frame=frame)
    answers = [json.loads(line) for line in (report.folder / "answers.jsonl").read_text().splitlines()]
    assert answers[0]["answer"]["probability"] == pytest.approx(answers[1]["answer"]["probability"])
    with pytest.raises(DataError, match="text is empty"):
        predict(predictor, [{"query": "\u200b"}])
