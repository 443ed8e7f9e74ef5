from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from vertune.core import content


def test_hashes_never_change():
    assert content.hashes(["", "card", "卡"]).tolist() == [13020603013274838756, 6951338720151151080, 4340940453717571181]
    assert content.hashes(["card"], "1").tolist() != content.hashes(["card"]).tolist()


@given(st.lists(st.tuples(st.text(max_size=5), st.integers(0, 3)), min_size=1, max_size=10), st.randoms())
def test_a_table_is_the_same_in_every_order_and_no_other(rows, random):
    frame = pl.DataFrame(rows, schema={"text": pl.String, "number": pl.Int64}, orient="row")
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=random.randrange(100))
    columns = ["text", "number"]
    assert content.of_table(frame, columns) == content.of_table(shuffled, columns)
    assert content.of_table(frame, columns) != content.of_table(pl.concat([frame, frame.head(1)]), columns)
    assert content.of_table(frame, columns) != content.of_table(frame.with_columns(pl.col("number") + 1), columns)


def test_case_and_white_space_do_not_make_another_text():
    frame = pl.DataFrame({"text": ["The  card", "the\ncard ", "thecard", "the card"], "label": ["a", "b", "a", "a"]})
    first, second, third, fourth = content.of_inputs(frame, ["text"])
    assert first == second == fourth != third


def test_fields_are_told_apart():
    frame = pl.DataFrame({"text": ["a b", "a"], "text_pair": ["c", "b c"]})
    assert len(set(content.of_inputs(frame, ["text", "text_pair"]))) == 2
    assert len(content.of_inputs(frame.clear(), ["text", "text_pair"])) == 0


def test_inputs_of_every_type_are_hashed_and_absent_ones_left_out():
    frame = pl.DataFrame({"picture": [b"\x00A", b"\x00a", b"\x00A"], "age": [1.5, 1.5, None], "row": [1, 2, 3]})
    of = content.of_inputs(frame, ["picture", "age", "text_pair"])
    assert len(set(of)) == 3  # the bytes of a picture are no text: their case counts
    assert content.of_inputs(frame.drop("row"), ["picture", "age"]).tolist() == of.tolist()
    assert len(content.of_table(frame, ["picture", "age"])) == 64
