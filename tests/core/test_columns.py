"""Columns are found by exactly their name, whatever Polars would read into it."""

import polars as pl
import pytest

from vertune.core.columns import named, only, without

ODD = ["*", "^a$", "^.*$", "a", "{}", "{b}"]
FRAME = pl.DataFrame({name: [place, place + 1] for place, name in enumerate(ODD)})


@pytest.mark.parametrize("name", ODD)
def test_one_name_is_one_column(name):
    assert FRAME.select(named(name)).columns == [name]
    assert FRAME.select(named(name) + 1).to_series().to_list() == [FRAME[name][0] + 1, FRAME[name][1] + 1]
    assert only(FRAME, [name]).columns == [name]
    assert without(FRAME, [name, "no such column"]).columns == [other for other in ODD if other != name]
