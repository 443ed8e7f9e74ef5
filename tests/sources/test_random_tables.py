"""Tables with random names, types, gaps, scripts and damage: the sources lose no row of them, and neither does `prepare`."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.core.artifact import Home
from vertune.core.config import Config, source_of
from vertune.core.errors import DataError
from vertune.core.kinds import Source
from vertune.core.parse import build
from vertune.steps.prepare import prepare

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def tables():
    """The benchmark that takes such tables through all steps; it makes the tables."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        spec = importlib.util.spec_from_file_location("benchmarks_random_tables", BENCHMARKS / "random_tables.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        yield module


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_sources_read_every_row_of_a_random_table(tables, tmp_path_factory, seed):
    table = tables.make(seed, tmp_path_factory.mktemp("table"))
    source = build(Source, source_of(str(table.path)))
    is_empty = not any(value not in (None, "") for values in table.columns.values() for value in values)
    frame = None
    # there is nothing to read, or too few other rows show the encoding
    with contextlib.suppress(*[DataError] if is_empty or table.damage == "bytes" else []):
        frame = source.read().lazy().collect()
    if frame is None or is_empty:
        return
    assert frame.height == table.rows
    assert frame["__row"].is_unique().all()
    bad = frame["__error"].is_not_null().sum()
    assert bad <= 1, frame["__error"].drop_nulls().to_list()
    unquoted = table.form == "tsv" and table.damage == "quote"  # then quotes are ordinary characters
    assert bad or unquoted or table.damage in ("", "bytes"), table.damage


@pytest.mark.parametrize("seed", range(6))
def test_prepare_accounts_for_every_row_of_a_random_table(tables, tiny_base, tmp_path, seed):
    numbers = (number for number in range(seed * 1000, seed * 1000 + 1000) if (table := _learnable(tables, number, tmp_path)))
    number = next(numbers)
    table = tables.make(number, tmp_path)
    config = {"name": "table", "data": {"source": source_of(str(table.path))}, "base": str(tiny_base)}
    dataset = prepare(build(Config, config), Home(tmp_path / "home")).manifest
    assert sum(dataset["rows"].values()) - dataset["added"] == table.rows


def _learnable(tables, number, folder):
    """The table of this number, if it has texts with labels and enough rows."""
    table = tables.make(number, folder)
    return (
        table if {"text", "label"} <= set(table.columns) and table.rows >= 60 and set(table.columns["label"]) >= {"wheel", "刹车"} else None
    )
