"""How old and new rows become the next dataset: no row is lost, and what counts is decided by rules."""

import polars as pl
import pytest

from vertune.steps.retrain.assembly import Old, assemble
from vertune.steps.retrain.reading import AT, AUTHOR, KEY, REVIEWED
from vertune.tasks.classify import Classify
from vertune.tasks.multilabel import Multilabel

TASK = Classify()


def frame(rows, **columns):
    made = {"text": [row[0] for row in rows], "label": [row[1] for row in rows], "__file": ["old.csv"] * len(rows)}
    types = {"text": pl.String, "label": pl.String, "__file": pl.String}
    table = pl.DataFrame(made, schema=types).with_columns(pl.int_range(1, pl.len() + 1).alias("__row"))
    return table.with_columns(**columns)


def new(*rows):
    """New rows: text, label, whether it was reviewed, time, trust."""
    full = [(*row, *(True, "2030-01-01", 1.0)[len(row) - 2 :]) for row in rows]
    nothing = pl.Series([None] * len(full), dtype=pl.String)
    columns = {
        REVIEWED: pl.Series([row[2] for row in full], dtype=pl.Boolean), AT: pl.Series([row[3] for row in full], dtype=pl.String),
        "__trust": pl.Series([row[4] for row in full], dtype=pl.Float64), AUTHOR: nothing, KEY: nothing,
    }  # fmt: skip
    return frame(full, **columns)


@pytest.fixture
def old():
    splits = {
        "train": frame([(f"train {number}", "ab"[number % 2]) for number in range(70)]),
        "validation": frame([(f"validation {number}", "ab"[number % 2]) for number in range(10)]),
        "test": frame([(f"test {number}", "ab"[number % 2]) for number in range(20)]),
    }
    return Old(splits, splits["test"], (0.1, 0.2))


def texts(found, split, number=1):
    return found.splits[split].filter(pl.col("__round") == number)["text"].to_list()


def test_reviewed_rows_are_divided_in_the_old_proportion_and_no_row_is_lost(old):
    rows = [(f"new {number}", "ab"[number % 2], number % 4 != 0) for number in range(200)]
    found = assemble(TASK, old, new(*rows), {}, 1)
    assert found.counts == {"train": 155, "validation": 15, "test": 30}  # 150 are reviewed
    unreviewed = {text for text, _, reviewed in rows if not reviewed}
    assert unreviewed <= set(texts(found, "train"))
    assert found.splits["train"].height == 70 + 155
    labels = found.splits["test"].filter(pl.col("__round") == 1)["label"]
    assert abs((labels == "a").sum() - 10) <= 1  # a third of the reviewed rows has it


def test_the_division_does_not_depend_on_the_order(old):
    rows = [(f"new {number}", "ab"[number % 2]) for number in range(60)]
    one, other = assemble(TASK, old, new(*rows), {}, 1), assemble(TASK, old, new(*rows[::-1]), {}, 1)
    assert set(texts(one, "test")) == set(texts(other, "test"))


def test_the_newest_reviewed_of_several_rows_with_one_input_counts(old):
    rows = [("twice", "a", True, "2030-01-01"), ("TWICE ", "b", True, "2030-01-02"), ("twice", "a", False, "2030-01-03")]
    found = assemble(TASK, old, new(*rows, *[(f"new {number}", "a") for number in range(9)]), {}, 1)
    every = pl.concat([found.splits[name].select("text", "label") for name in found.splits])
    assert every.filter(pl.col("text").str.to_lowercase().str.strip_chars() == "twice")["label"].to_list() == ["b"]
    assert found.counts["overruled"] == 2


def test_what_contradicts_without_a_review_is_held_back(old):
    rows = [("open", "a", False), ("open", "b", False), ("train 1", "a", False), ("kept", "a", False)]
    found = assemble(TASK, old, new(*rows), {}, 1)
    assert found.counts == {"held": 3, "train": 1}
    assert [(one.check, one.row["text"]) for one in found.held] == [("conflict", "open"), ("conflict", "open"), ("conflict", "train 1")]
    line = found.held[2].as_json()
    assert line["label"] == "a"
    assert line["held_reason"] == "it contradicts a train row, and nobody reviewed it"
    assert not [name for name in line if name.startswith("__")]


def test_a_reviewed_row_replaces_the_target_of_an_old_one_where_it_is(old):
    found = assemble(TASK, old, new(("train 1", "a"), ("validation 1", "a"), ("test 1", "a"), ("train 2", "a")), {}, 1)
    assert found.counts == {"held": 1, "replaced": 2, "known": 1}
    assert found.held[0].check == "gold"
    for split, text in (("train", "train 1"), ("validation", "validation 1")):
        assert found.splits[split].filter(pl.col("text") == text).select("label", "__round").rows() == [("a", 1)]
    assert found.splits["train"].height == 70
    assert found.gold.equals(old.gold)
    assert found.learnt == 2


def test_gold_rows_never_train_and_stay_when_the_test_grows(old):
    rows = [("test 0", "a"), *((f"new {number}", "a") for number in range(20))]
    first = assemble(TASK, old, new(*rows), {}, 1)
    assert first.counts["gold"] == 1
    assert "test 0" not in first.splits["train"]["text"].to_list()
    second = assemble(TASK, Old(first.splits, first.gold, old.shares), new(*((f"later {number}", "b") for number in range(20))), {}, 2)
    assert second.gold.equals(old.gold)
    assert [len(texts(second, "test", number)) for number in (0, 1, 2)] == [20, 4, 4]


def test_a_new_label_is_learnt_even_from_one_row(old):
    found = assemble(TASK, Old(old.splits, old.gold, (0.4, 0.5)), new(("only one", "c")), {}, 1)
    assert texts(found, "train") == ["only one"]


def test_rows_without_trust_and_suspects_are_counted(old):
    found = assemble(TASK, old, new(("no trust", "a", False, "2030", 0.0), ("odd", "a", False), ("half", "b", False, "2030", 0.5)),
                     {1: ("phrase", "it stands for 'a'")}, 1)  # fmt: skip
    assert found.counts == {"held": 1, "untrusted": 1, "train": 1}
    assert found.splits["train"].filter(pl.col("text") == "half")["__trust"].to_list() == [0.5]
    assert {note.what.partition(",")[0] for note in found.notes} == {
        "new rows were held back for review; held.jsonl lists them", "new rows were left out",
        "new rows were added to the train rows; the second number is that of all new rows",
    }  # fmt: skip


def test_sets_of_labels_are_equal_in_any_order():
    rows = pl.DataFrame({"text": ["one"], "labels": [["x", "y"]], "__file": ["f"], "__row": [1]})
    old = Old({"train": rows, "validation": rows.clear(), "test": rows.clear()}, rows.clear(), (0.0, 0.0))
    nothing = pl.lit(None, pl.String)
    given = pl.DataFrame({"text": ["one", "two"], "labels": [["y", "x"], ["z"]], "__file": ["f", "f"], "__row": [1, 2]}).with_columns(
        pl.lit(True).alias(REVIEWED), pl.lit("2030").alias(AT), pl.lit(1.0).alias("__trust"), nothing.alias(AUTHOR), nothing.alias(KEY)
    )
    assert assemble(Multilabel(), old, given, {}, 1).counts == {"known": 1, "train": 1}
