"""Answers keep the order and number of rows, whatever the columns are called and whatever can't be answered."""

import base64
import datetime as dt
import json
from dataclasses import replace
from decimal import Decimal

import polars as pl
import pytest

import vertune
from vertune.core.artifact import Home
from vertune.core.config import load
from vertune.core.errors import ConfigError, DataError, StorageError, UnknownName
from vertune.data.validate import record_of_texts, validate_records
from vertune.runtime.predictor import Predictor
from vertune.sources._workbook import write as workbook
from vertune.steps.evaluate import evaluate
from vertune.steps.fit import fit
from vertune.steps.predict import Inputs, answer, predict, predict_file, read_rows


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


AWKWARD = {
    "number": pl.Series([1.5, float("nan"), float("inf")]),
    "bytes": pl.Series([b"\xff", None, b"ab"]),
    "when": pl.Series([dt.datetime(2024, 1, 1), None, dt.datetime(2024, 1, 2)]),
    "long": pl.Series([dt.timedelta(1), None, dt.timedelta(2)]),
    "exact": pl.Series([Decimal("1.50"), None, Decimal(2)]),
    "list": pl.Series([[1.0, float("nan")], None, []]),
    "object": pl.Series([{"a": b"x"}, {"a": None}, None]),
    "word": pl.Series(["a", None, "b"], dtype=pl.Categorical),
    "empty": pl.Series([None, None, None]),
}


@pytest.mark.parametrize("form", [".jsonl", ".csv", ".parquet"])
def test_columns_of_every_type_are_written_beside_the_answers(predictor, tmp_path, form):
    given, out = tmp_path / "in.parquet", tmp_path / f"out{form}"
    pl.DataFrame({"query": ["bread", "rome", "  "], **AWKWARD}).write_parquet(given)
    assert list(predict_file(predictor, given, out).errors) == [2]
    if form == ".jsonl":

        def refuse(name):
            raise AssertionError(f"{name} is not JSON")

        lines = [json.loads(line, parse_constant=refuse) for line in out.read_text().splitlines()]
        assert [line["number"] for line in lines] == [1.5, None, "inf"]
        assert lines[0]["list"] == [1.0, None]
        assert base64.b64decode(lines[0]["bytes"]) == b"\xff"
    else:
        written = pl.read_csv(out) if form == ".csv" else pl.read_parquet(out)
        assert written.height == 3
        assert set(AWKWARD) <= set(written.columns)
        assert written["answer_error"].null_count() == 2


@pytest.mark.parametrize("form", [".jsonl", ".csv", ".parquet"])
def test_columns_of_older_answers_are_replaced(predictor, tmp_path, form):
    given, out = tmp_path / "in.csv", tmp_path / f"out{form}"
    given.write_text("query,answer_error,answer_label,answer_note\nbread,text is empty,old,kept\n")
    assert predict_file(predictor, given, out).replaced == ("answer_error", "answer_label")
    (row,) = read_rows(out).to_dicts()
    assert "answer_error" not in row
    assert row["answer_label"] in {"food", "place"}
    assert row["answer_note"] == "kept"


@pytest.mark.parametrize("way", ["same", "link", "hard link", "in the folder"])
def test_the_file_that_is_read_is_never_overwritten(fitted, tmp_path, way):
    given = tmp_path / "mine.csv"
    given.write_text('query\nbread\n"a\n')
    before, out = given.read_bytes(), given
    if way != "same":
        out = tmp_path / "out.csv"
    if way == "link":
        out.symlink_to(given)
    elif way == "hard link":
        out.hardlink_to(given)
    elif way == "in the folder":
        (tmp_path / "texts").mkdir()
        out = tmp_path / "texts" / "1.csv"
        out.touch()
    with pytest.raises(ConfigError, match="Name another file"):
        predict_file(fitted[1].model, tmp_path / "texts" if way == "in the folder" else given, out)
    assert given.read_bytes() == before


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_answers_have_the_delimiter_of_the_rows(predictor, tmp_path, delimiter):
    given, out = tmp_path / "in.csv", tmp_path / "out.csv"
    pl.DataFrame({"id": [1, 2], "query": ["bread", "rome"], "more": ["a", "b"]}).write_csv(given, separator=delimiter)
    predict_file(predictor, given, out)
    assert out.read_text().startswith(f"id{delimiter}query{delimiter}more{delimiter}answer_label{delimiter}")
    assert read_rows(out)["answer_label"].to_list() == [one["label"] for one in predict(predictor, [{"text": "bread"}, {"text": "rome"}])]


def test_the_columns_of_the_inputs_can_be_named(fitted, predictor, tmp_path):
    given, out = tmp_path / "in.csv", tmp_path / "out.csv"
    given.write_text("query,body\nrome,bread\n")
    rome, bread = predict(predictor, [{"text": "rome"}, {"text": "bread"}])
    assert rome["probability"] != bread["probability"]
    assert predict_file(predictor, given, out).answers[0]["probability"] == pytest.approx(rome["probability"])
    assert predict_file(predictor, given, out, texts=["body"]).answers[0]["probability"] == pytest.approx(bread["probability"])
    assert read_rows(out).columns[:2] == ["query", "body"]
    given.write_text("title,body\nrome,bread\n")
    model = fitted[1].model
    with pytest.raises(DataError, match=r"no column 'query'.*--text COLUMN"):
        predict_file(model, given, out)
    with pytest.raises(UnknownName, match="bodi"):
        predict_file(model, given, out, texts=["bodi"])
    with pytest.raises(ConfigError, match="2 texts were given"):
        predict_file(model, given, out, texts=["body", "title"])


def test_what_the_model_does_not_read_is_refused_before_it_is_loaded(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "open", lambda *_, **__: pytest.fail("the model was loaded"))
    given = tmp_path / "in.csv"
    given.write_text("title\nrome\n")
    with pytest.raises(DataError, match="no column"):
        predict_file(fitted[1].model, given, tmp_path / "out.csv")
    vertical = vertune.load("support", fitted[0].folder)
    with pytest.raises(ConfigError, match="2 texts were given"):
        vertical.predict([["bread", "rome"]])


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


@pytest.mark.parametrize(
    ("name", "encoding", "marked"),
    [("a.csv", "utf-8", False), ("a.csv", "utf-8-sig", True), ("a.csv", "gb18030", True), ("a.xlsx", "", True)],
)
def test_answers_to_rows_of_a_spreadsheet_open_in_one(predictor, tmp_path, name, encoding, marked):
    rows = [["id", "query"], *([str(place), "哪里有面包"] for place in range(30))]
    if encoding:
        (tmp_path / name).write_text("".join(f"{','.join(row)}\n" for row in rows), encoding=encoding)
    else:
        workbook(tmp_path / name, {"rows": rows})
    predict_file(predictor, tmp_path / name, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbf") is marked
    assert pl.read_csv(tmp_path / "out.csv")["query"][0] == "哪里有面包"


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_title_above_the_names_of_the_columns_is_skipped(fitted, tmp_path, delimiter):
    model = fitted[0].get("models", "support")
    lines = ["Export of today", delimiter.join(["id", "query", "kind"])]
    lines += [delimiter.join([str(place), f"tell me of rome {place}", "place"]) for place in range(12)]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    result = predict_file(model, tmp_path / "rows.csv", tmp_path / "out.csv")
    assert len(result.answers) == 12
    assert not result.errors
    assert read_rows(tmp_path / "rows.csv", Inputs.of(model))["query"].to_list()[0] == "tell me of rome 0"
    assert "query" not in read_rows(tmp_path / "rows.csv").columns
