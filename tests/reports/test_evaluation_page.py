"""What the report page draws from its figures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.reports.evaluation import _error_table, _next_steps, smoothed

POINTS = st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e6, 1e6)), min_size=2, max_size=200)


@given(POINTS)
def test_a_smoothed_curve_keeps_its_steps_its_ends_and_its_range(points):
    found = smoothed(points)
    assert [x for x, _ in found] == [x for x, _ in points]
    assert (found[0][1], found[-1][1]) == (points[0][1], points[-1][1])
    low, high = min(y for _, y in points), max(y for _, y in points)
    assert all(low - 1e-3 <= y <= high + 1e-3 for _, y in found)


def test_smoothing_takes_the_noise_and_keeps_the_line():
    noisy = [(float(x), 0.5 * x + (1 if x % 2 else -1)) for x in range(101)]
    found = smoothed(noisy)
    assert max(abs(y - 0.5 * x) for x, y in found[10:-10]) < 0.2


@pytest.mark.parametrize(("files", "place"), [(["a/x.csv"] * 2, "1,234"), (["a/x.csv", "a/y.csv"], "x.csv: 1,234")])
def test_the_place_of_a_wrong_answer_names_the_file_only_if_there_are_several(files, place):
    errors = [{"row": 0, "__file": file, "__row": 1234, "text": "t", "expected": "a", "answered": "b"} for file in files]
    table = _error_table(errors)
    assert table["columns"][0] == {"title": "row", "kind": "place"}
    assert table["rows"][0][0] == place


def test_without_places_there_is_no_column_for_them():
    table = _error_table([{"row": 0, "text": "t", "expected": "a", "answered": "b"}])
    assert [column["kind"] for column in table["columns"]] == ["text", "word", "word"]


@pytest.mark.parametrize("name", ["evaluate.html", "compress.html", "charts.html"])
def test_every_table_becomes_cards_on_a_phone(name):
    """Every cell has the title of its column, or is the heading or the picture of its card."""
    import re

    from vertune.reports import _TEMPLATES

    source = (_TEMPLATES / name).read_text(encoding="utf-8")
    tables = re.findall(r"<table.*?</table>", source, re.DOTALL)
    assert tables
    for table in tables:
        assert table.startswith('<table class="cards">')
        for cell in re.findall(r"<td[^>]*?(?:\{\{.*?\}\}[^>]*?|\{%.*?%\}[^>]*?)*>", table.partition("<tbody>")[2]):
            assert "data-title" in cell or "lead" in cell or "picture" in cell, cell


@pytest.mark.parametrize(("step", "advised"), [("train", True), ("compress", False), (None, True)])
def test_a_compressed_model_is_not_to_be_compressed_again(step, advised):
    measured = {"model": "topics-1", "name": "topics", "details": {}, "training": {"step": step}}
    commands = [found["command"] for found in _next_steps(measured, "model")]
    for choice, named in (("model", False), ("baseline", True), ("rows", True), ("unknown", False)):
        assert any("with other software" in found["text"] for found in _next_steps(measured, choice)) is named
    assert ("vertune compress topics-1" in commands) is advised
    assert "vertune alias topics@live topics-1" in commands
