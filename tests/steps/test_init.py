"""What init guesses of files of every task, and that the config it writes is taken."""

import polars as pl
import pytest
import yaml

from vertune.core.config import load
from vertune.core.errors import DataError, NotFound, UnknownName
from vertune.steps.init import guess_as_yaml, guess_frame, init, name_of

WORDS = ["the", "card", "did", "not", "arrive", "yet", "please", "help", "me", "now"]


def text(place: int) -> str:
    return " ".join(WORDS[(place * step + step) % 10] for step in range(1, 9)) + f" {place}"


def frame(**columns):
    return pl.DataFrame({name: [make(place) for place in range(60)] for name, make in columns.items()})


CASES = {
    "classify": (frame(id=str, message=text, intent=lambda place: f"intent {place % 5}"), {"text": ["message"], "label": ["intent"]}),
    "numbers as classes": (frame(text=text, label=lambda place: str(place % 2)), {"text": ["text"], "label": ["label"]}),
    "regress": (frame(text=text, price=lambda place: f"{place / 7:.3f}"), {"text": ["text"], "score": ["price"]}),
    "stars": (frame(review=text, rating=lambda place: place % 5 + 1), {"text": ["review"], "score": ["rating"]}),
    "multilabel": (frame(text=text, topics=lambda place: f"a{place % 3}|b{place % 4}"), {"text": ["text"], "labels": ["topics"]}),
    "list": (frame(text=text, topics=lambda place: ["a", f"b{place % 4}"]), {"text": ["text"], "labels": ["topics"]}),
    "match": (
        frame(sentence1=text, sentence2=lambda place: text(place + 1), entailment=lambda place: "yes" if place % 2 else "no"),
        {"text": ["sentence1"], "text_pair": ["sentence2"], "label": ["entailment"]},
    ),
    "tag": (frame(text=text, spans=lambda place: [{"start": 0, "end": 3, "label": "X"}]), {"text": ["text"], "spans": ["spans"]}),
    "extract": (
        frame(question=text, context=text, answers=lambda place: [{"start": 0, "text": "the"}]),
        {"question": ["question"], "context": ["context"], "answers": ["answers"]},
    ),
}
TASKS = {"numbers as classes": "classify", "stars": "regress", "list": "multilabel"}


@pytest.mark.parametrize("name", CASES)
def test_a_table_is_recognised(name):
    table, fields = CASES[name]
    guess = guess_frame(table, "the data")
    assert (guess.task, guess.fields) == (TASKS.get(name, name), fields)
    assert set(guess.fields) <= set(guess.reasons)


def test_an_empty_cell_is_no_label():
    guess = guess_frame(frame(text=text, label=lambda place: ["yes", "no", "", " "][place % 4]), "the data")
    assert (guess.task, guess.fields) == ("classify", {"text": ["text"], "label": ["label"]})
    assert guess.reasons["label"].startswith("2 different words: ")
    with pytest.raises(DataError, match="No column"):
        guess_frame(frame(text=text, label=lambda place: "yes" if place else ""), "the data")


@pytest.mark.parametrize("name", ["classify", "regress", "multilabel", "match", "tag", "extract", "list"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_is_written_is_a_config(name, form, tmp_path):
    table, fields = CASES[name]
    if form == "csv":
        if any(kind.is_nested() for kind in table.schema.values()):
            pytest.skip("a CSV has no lists")
        table.write_csv(tmp_path / "my table.csv")
    else:
        table.write_ndjson(tmp_path / "my table.jsonl")
    path = tmp_path / f"my table.{form}"
    (tmp_path / "run.yaml").write_text(guess_as_yaml(init(path), path, tmp_path), encoding="utf-8")
    config = load(tmp_path / "run.yaml")
    assert config.task.name == TASKS.get(name, name)
    assert {key: [value] for key, value in config.data.fields.items()} == fields
    assert config.data.source.path == str(path)
    assert config.name == "my-table"


def test_odd_names_of_columns_survive_yaml(tmp_path):
    odd = {"text: long": "a: b", "yes": "no"}
    table = pl.DataFrame({"text: long": [text(place) for place in range(40)], "yes": ["no", "true"] * 20})
    table.write_csv(tmp_path / "x.csv")
    guess = init(tmp_path / "x.csv", ["text: long"], "yes")
    said = yaml.safe_load(guess_as_yaml(guess, tmp_path / "x.csv", tmp_path))
    assert set(said["data"]["fields"].values()) == set(odd)


def test_a_column_that_names_splits_is_used():
    table = CASES["classify"][0].with_columns(pl.Series("part", ["train", "train", "test"] * 20))
    guess = guess_frame(table, "the data")
    assert guess.split == "part"
    assert guess.fields["label"] == ["intent"]


def test_the_file_beside_is_the_test(tmp_path):
    for name in ("train", "test"):
        CASES["classify"][0].write_csv(tmp_path / f"{name}.csv")
    guess = init(tmp_path / "train.csv")
    assert guess.test == tmp_path / "test.csv"
    assert guess.validation is None


def test_columns_are_joined_where_none_is_a_text():
    table = frame(colour=lambda place: f"c{place % 4}", size=lambda place: f"s{place % 3}", label=lambda place: f"{place % 2}")
    assert guess_frame(table, "the data").fields["text"] == ["colour", "size"]


def test_what_is_said_is_taken():
    guess = guess_frame(CASES["classify"][0], "the data", ["intent"], "id")
    assert (guess.fields["text"], guess.fields["label"] if "label" in guess.fields else guess.fields["score"]) == (["intent"], ["id"])
    assert guess_frame(CASES["stars"][0], "the data", task="classify").fields == {"text": ["review"], "label": ["rating"]}


def test_it_says_what_is_missing(tmp_path):
    with pytest.raises(NotFound, match="no file or folder"):
        init(tmp_path / "nothing.csv")
    with pytest.raises(UnknownName, match="Did you mean 'intent'"):
        guess_frame(CASES["classify"][0], "the data", label="intnt")
    with pytest.raises(DataError, match="looks like a label"):
        guess_frame(frame(text=text), "the data")


@pytest.mark.parametrize(("path", "name"), [("a/Tickets 2024.csv", "tickets-2024"), ("bank/train.csv", "bank"), ("标.csv", "vertical")])
def test_name(path, name, tmp_path):
    assert name_of(tmp_path / path) == name
