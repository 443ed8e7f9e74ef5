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
