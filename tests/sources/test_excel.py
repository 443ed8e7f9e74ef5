from __future__ import annotations

import pytest

from vertune.core.errors import DataError, UnknownName
from vertune.sources._workbook import write as workbook
from vertune.sources.excel import Excel


def test_sheets_numbers_and_blank_lines(tmp_path):
    path = tmp_path / "a.xlsx"
    workbook(path, {"first": [["text", "stars"], ["good", 5], [None, None], ["bad", 1]], "second": [["text"], ["other"]]})
    frame = Excel(path=str(path)).read()
    assert frame["text"].to_list() == ["good", "bad"]
    assert [int(value) for value in frame["stars"]] == [5, 1]
    assert frame["__row"].to_list() == [1, 3]
    assert Excel(path=str(path), sheet="second").read()["text"].to_list() == ["other"]


def test_whole_numbers_do_not_become_other_labels(tmp_path):
    path = tmp_path / "a.xlsx"
    workbook(path, {"first": [["text", "label"], ["good", 1], ["bad", 2], ["odd", "unsure"]]})
    assert Excel(path=str(path)).read()["label"].to_list() == ["1", "2", "unsure"]


def test_an_unknown_sheet_and_an_empty_one(tmp_path):
    path = tmp_path / "a.xlsx"
    workbook(path, {"answers": [["text"], ["one"]], "empty": [["text"]]})
    with pytest.raises(UnknownName, match="Did you mean 'answers'"):
        Excel(path=str(path), sheet="answer").read()
    with pytest.raises(DataError, match="no rows under its header"):
        Excel(path=str(path), sheet="empty").read()


def test_what_is_no_workbook_is_refused(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_text("text,label\n")
    with pytest.raises(DataError, match="not a workbook"):
        Excel(path=str(path)).read()


@pytest.mark.parametrize("late", [["A1"], ["n/a", "A1"], ["n/a"], ["未知"]])
@pytest.mark.parametrize("numbers", [3, 1200])
def test_words_in_a_column_of_numbers_are_kept_wherever_they_are(tmp_path, late, numbers):
    """The types of the first 1,000 rows once decided, so that codes with letters in later rows became missing labels."""
    path = tmp_path / "a.xlsx"
    body = [[f"text {place}", place % 3] for place in range(numbers)] + [[f"late {place}", word] for place, word in enumerate(late)]
    workbook(path, {"first": [["text", "label"], *body, ["empty", None]]})
    frame = Excel(path=str(path)).read()
    assert frame["label"].to_list() == [*(str(place % 3) for place in range(numbers)), *late, None]


def test_numbers_with_gaps_stay_numbers(tmp_path):
    path = tmp_path / "a.xlsx"
    workbook(path, {"first": [["text", "score"], ["a", 1.5], ["b", None], ["c", 2]]})
    assert Excel(path=str(path)).read()["score"].to_list() == [1.5, None, 2.0]


def test_the_header_can_stand_below_a_title_and_its_names_are_on_one_line(tmp_path):
    path = tmp_path / "a.xlsx"
    workbook(path, {"first": [["Export of Monday"], [None], ["the\ntext", "label", None], ["one", "a", 3], ["two", "b", 4]]})
    frame = Excel(path=str(path), header=3).read()
    assert frame.columns[:3] == ["the text", "label", "column_3"]
    assert frame["the text"].to_list() == ["one", "two"]
    with pytest.raises(DataError, match=r"option 'header'|no rows under its header"):
        Excel(path=str(path), header=30).read()
