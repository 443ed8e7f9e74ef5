from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.core.errors import ConfigError, DataError
from vertune.core.records import Column
from vertune.splits._cut import blocks
from vertune.splits.given import Given
from vertune.splits.group import Group
from vertune.splits.stratified import Stratified
from vertune.splits.time import Time

COLUMNS = (Column("text", "The text."), Column("label", "The class.", role="target", type="label"))


def table(counts: dict[str, int]) -> pl.DataFrame:
    labels = [label for label, count in counts.items() for _ in range(count)]
    return pl.DataFrame({"text": [f"text {place}" for place in range(len(labels))], "label": labels})


def counts(frame: pl.DataFrame, names: pl.Series) -> dict[str, dict[str, int]]:
    return {name: dict(Counter(frame.filter(names == name)["label"])) for name in set(names)}


def test_stratified_keeps_proportions():
    frame = table({"a": 1000, "b": 200, "c": 50})
    found = counts(frame, Stratified().divide(frame, COLUMNS))
    assert found["test"] == {"a": 200, "b": 40, "c": 10}
    assert found["validation"] == {"a": 80, "b": 16, "c": 4}


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 40), min_size=1), st.sampled_from([0.0, 0.1, 0.2, 0.5]))
def test_stratified_gives_each_class_to_train_and_its_share_to_test(sizes, share):
    frame = table(sizes)
    if frame.height < 4:
        return
    names = Stratified(test=share).divide(frame, COLUMNS)
    found = counts(frame, names)
    assert set(found["train"]) == set(sizes)
    room = sum(size - 1 for size in sizes.values())
    tests = sum(found.get("test", {}).values())
    assert abs(tests - share * frame.height) <= max(1.0, len(sizes) / 2 + 0.5)
    assert tests <= room
    if share == 0:
        assert not tests
    for label, size in sizes.items():
        assert abs(found.get("test", {}).get(label, 0) - share * size) < 2


def test_few_rows_a_class_are_cut_evenly():
    frame = table({f"label {place:02d}": 10 for place in range(77)})
    found = counts(frame, Given().divide(frame, COLUMNS))
    assert set(found["validation"].values()) == {1}
    assert len(found["validation"]) == 77


def test_copies_of_a_text_stay_together_even_under_other_labels():
    frame = pl.DataFrame({"text": [f"Text  {place % 50}".upper() if place % 2 else f"text {place % 50}" for place in range(200)]})
    frame = frame.with_columns(pl.Series("label", ["ab"[place % 3 == 0] for place in range(200)]))
    for split in (Stratified(), Given()):
        named = frame.with_columns(
            split.divide(frame, COLUMNS).alias("split"), pl.col("text").str.to_lowercase().str.replace("  ", " ").alias("key")
        )
        assert named.group_by("key").agg(pl.col("split").n_unique())["split"].max() == 1


@pytest.mark.parametrize(
    ("kind", "values"),
    {
        "number": np.linspace(0, 5, 400),
        "labels": [["rare", "common"] if place % 40 == 0 else ["common"] for place in range(400)],
        "spans": [[{"start": place, "end": place + 1, "label": "RARE"}] if place % 40 == 0 else [] for place in range(400)],
        "answers": [[{"start": 0, "text": "t"}] if place % 40 == 0 else [] for place in range(400)],
    }.items(),
)
def test_every_type_of_target_keeps_its_proportions_under_any_name(kind, values):
    column = pl.Series("what it is", values)
    frame = pl.DataFrame({"text": [f"text {place}" for place in range(400)], column.name: column})
    columns = (COLUMNS[0], Column(column.name, "The target.", role="target", type=kind))
    test = frame.filter(Stratified().divide(frame, columns) == "test")
    assert test.height == 80
    if kind == "number":
        assert abs(test[column.name].mean() - 2.5) < 0.2
        assert np.histogram(test[column.name], bins=10, range=(0, 5))[0].tolist() == [8] * 10
    else:
        assert (test[column.name].list.len() == column.list.len().max()).sum() == (2 if kind == "labels" else test.height - 78)


def test_seeds_give_other_divisions_and_new_rows_move_few():
    frame = table({"a": 500, "b": 500})
    first, second = Stratified().divide(frame, COLUMNS), Stratified(seed=1).divide(frame, COLUMNS)
    assert 0.2 < (first != second).mean() < 0.6
    longer = pl.concat([frame, frame.head(20).with_columns(("new " + pl.col("text")).alias("text"))])
    moved = (Stratified().divide(longer, COLUMNS).head(frame.height) != first).mean()
    assert moved < 0.05


def test_group_never_divides_a_group():
    frame = table({"a": 300, "b": 300}).with_columns((pl.int_range(600) % 40).alias("customer"))
    names = Group(by="customer").divide(frame, COLUMNS)
    assert frame.with_columns(names.alias("split")).group_by("customer").agg(pl.col("split").n_unique())["split"].max() == 1
    assert 0.15 < (names == "test").mean() < 0.25
    with pytest.raises(ConfigError, match="needs the column 'costumer' for its groups"):
        Group(by="costumer").divide(frame, COLUMNS)
    with pytest.raises(DataError, match="only 1 different groups or times"):
        Group(by="one").divide(frame.with_columns(one=pl.lit("x")), COLUMNS)


@pytest.mark.parametrize("name", ["^.$", "^$", "*"])
def test_the_column_may_have_any_name(name):
    frame = table({"a": 90}).with_columns((pl.int_range(90) // 3).cast(pl.String).alias(name))
    assert set(Group(by=name).divide(frame, COLUMNS)) == {"train", "validation", "test"}
    assert set(Time(by=name).divide(frame, COLUMNS)) == {"train", "validation", "test"}
    given = frame.with_columns(pl.Series(name, ["train", "dev", "test"] * 30))
    assert Given(by=name).divide(given, COLUMNS).to_list() == ["train", "validation", "test"] * 30


def test_rows_without_a_group_are_their_own():
    frame = table({"a": 100}).with_columns(customer=pl.lit(None, dtype=pl.String))
    assert Counter(Group(by="customer").divide(frame, COLUMNS))["test"] == 20
    assert Counter(Group(by="customer").divide(frame.with_columns(customer=pl.lit(" ")), COLUMNS))["test"] == 20


@pytest.mark.parametrize("form", ["iso", "number", "date", "german"])
def test_time_trains_on_the_past(form):
    days = [f"2024-{1 + place // 28 % 12:02d}-{1 + place % 28:02d}" for place in range(300)]
    frame = table({"a": 300}).with_columns(pl.Series("when", days)).sample(fraction=1.0, shuffle=True, seed=3)
    options = {}
    if form == "date":
        frame = frame.with_columns(pl.col("when").str.to_date())
    elif form == "number":
        frame = frame.with_columns(pl.col("when").str.replace_all("-", ""))
    elif form == "german":
        frame = frame.with_columns(pl.col("when").str.to_date().dt.strftime("%d.%m.%Y"))
        options = {"format": "%d.%m.%Y"}
    named = frame.with_columns(Time(by="when", **options).divide(frame, COLUMNS).alias("split"))
    if form == "german":
        named = named.with_columns(pl.col("when").str.to_date("%d.%m.%Y"))
    ends = {name: (rows["when"].min(), rows["when"].max()) for (name,), rows in named.group_by("split")}
    assert ends["train"][1] < ends["validation"][0]
    assert ends["validation"][1] < ends["test"][0]
    assert 55 <= Counter(named["split"])["test"] <= 65


def test_times_that_can_not_be_read_are_refused():
    frame = table({"a": 9}).with_columns(pl.Series("when", ["2024-01-01"] * 8 + ["soon"]))
    with pytest.raises(DataError, match="contains 'soon', which is not a time in ISO 8601"):
        Time(by="when").divide(frame, COLUMNS)
    with pytest.raises(DataError, match="no time in 9 rows"):
        Time(by="when").divide(frame.with_columns(when=pl.lit(None, dtype=pl.String)), COLUMNS)


@given(st.lists(st.integers(1, 50), min_size=3, max_size=30), st.floats(0.05, 0.6), st.floats(0.05, 0.6))
def test_blocks_fill_splits_in_order_and_none_is_empty(sizes, test, validation):
    names = blocks(np.array(sizes), test, validation).tolist()
    order = {"test": 0, "validation": 1, "train": 2}
    assert [order[name] for name in names] == sorted(order[name] for name in names)
    assert set(names) == set(order)


def test_given_maps_values_and_leaves_the_others_unused():
    frame = table({"a": 100}).with_columns((pl.int_range(100) % 10).alias("tenth"))
    names = Given(by="tenth", values={"train": list(range(7)), "validation": [7], "test": ["8"]}).divide(frame, COLUMNS)
    assert Counter(names) == {"train": 70, "validation": 10, "test": 10, "unused": 10}


def test_given_knows_the_usual_names_and_refuses_others():
    frame = table({"a": 40}).with_columns(pl.Series("part", ["Train", "dev", "TEST", "unused"] * 10))
    assert Counter(Given(by="part").divide(frame, COLUMNS)) == {"train": 10, "validation": 10, "test": 10, "unused": 10}
    with pytest.raises(DataError, match="contains 'fold 1'"):
        Given(by="part").divide(frame.with_columns(part=pl.lit("fold 1")), COLUMNS)


def test_given_cuts_validation_where_there_is_none():
    frame = table({"a": 100}).with_columns(pl.Series("part", ["train", "test"] * 50))
    assert Counter(Given(by="part").divide(frame, COLUMNS)) == {"train": 45, "validation": 5, "test": 50}
    assert Counter(Given().divide(frame, COLUMNS)) == {"train": 90, "validation": 10}
    assert Counter(Given(by="part").without(frozenset({"validation"})).divide(frame, COLUMNS)) == {"train": 50, "test": 50}


def test_two_texts_are_too_few():
    with pytest.raises(DataError, match="2 distinct texts can't be divided"):
        Stratified().divide(table({"a": 1, "b": 1}), COLUMNS)
    both = frozenset({"validation", "test"})
    assert Stratified().without(both).divide(table({"a": 1, "b": 1}), COLUMNS).to_list() == ["train", "train"]
