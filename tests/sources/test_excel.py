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


def _months(tmp_path, third):
    path = tmp_path / "a.xlsx"
    title = [["Enquiries", None], ["text", "label"]]
    months = {name: [*title, *([f"{name} {place}", "ab"[place % 2]] for place in range(12))] for name in ("Jan", "Feb", "a[1]")}
    workbook(path, {**months, "empty": title, "notes": third})
    return path


def test_several_sheets_with_the_same_columns_are_read_together(tmp_path):
    path = _months(tmp_path, [["by", "when"], ["Ann", "today"]])
    frame = Excel(path=str(path), sheet="*a*", header=2).read()
    assert frame["text"].to_list() == [f"{name} {place}" for name in ("Jan", "a[1]") for place in range(12)]
    assert frame["__row"].to_list() == [*range(1, 13)] * 2
    assert frame["__file"].unique(maintain_order=True).to_list() == [f"{path}, sheet Jan", f"{path}, sheet a[1]"]
    assert Excel(path=str(path), sheet="a[1]", header=2).read()["text"][0] == "a[1] 0"
    assert Excel(path=str(path), sheet="[EeJ]*", header=2).read().height == 12, "an empty sheet among others"
    source, notes = Excel(path=str(path), sheet="?eb").detect()
    assert (source.sheet, source.header) == ("?eb", 2)
    assert len(notes) == 1
    with pytest.raises(UnknownName):
        Excel(path=str(path), sheet="M*").read()


@pytest.mark.parametrize(
    ("third", "offered"), [([["by", "when"], ["Ann", "today"]], False), ([["x"], ["text", "label"], ["c", "a"]], True)]
)
def test_sheets_with_the_same_columns_are_offered(tmp_path, third, offered):
    source, notes = Excel(path=str(_months(tmp_path, third))).detect()
    assert source.sheet == "Jan"
    assert notes[0].startswith("The sheet 'Jan' is read; a.xlsx also has Feb, a[1], empty, notes")
    assert ("use --sheet '*'" in notes[0]) is offered
