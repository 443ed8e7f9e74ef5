"""Each line of a text file is a row, with the labels of fastText if it has some."""

import pytest

from vertune.core.config import source_of
from vertune.core.errors import ConfigError, DataError
from vertune.sources.lines import Lines
from vertune.steps.init import init
from vertune.steps.init.tables import find_tables


def _rows(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    frame = Lines(path=str(path)).read()
    return frame.drop("__file", "__error").rows()


def test_each_line_is_a_text_and_blank_ones_are_none(tmp_path):
    assert _rows(tmp_path / "a.txt", "my card, please\n\n  it is late \n") == [("my card, please", 1), ("it is late", 3)]
    assert _rows(tmp_path / "b.txt", "我的卡\r\n太晚了\r\n".encode("gb18030")) == [("我的卡", 1), ("太晚了", 2)]
    assert "is read as GB18030" in Lines(path=str(tmp_path / "b.txt")).detect()[1][0]
    with pytest.raises(DataError, match="only blank lines"):
        _rows(tmp_path / "c.txt", "\n \n")


def test_labels_of_fasttext_are_a_column(tmp_path):
    content = "__label__card my card is lost\n__label__rate too high\nno label here\n"
    assert _rows(tmp_path / "a.txt", content) == [("my card is lost", "card", 1), ("too high", "rate", 2), ("no label here", None, 3)]
    several = "__label__card __label__lost my card is lost\n__label__rate too high\n"
    assert _rows(tmp_path / "b.txt", several) == [("my card is lost", ["card", "lost"], 1), ("too high", ["rate"], 2)]


def test_a_damaged_line_costs_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\n".join(f"我的银行卡 {place}" for place in range(30)).encode().replace(b" 7", b"\xff7"))
    frame = Lines(path=str(path)).read()
    assert frame["__error"].is_not_null().arg_true().to_list() == [7]


@pytest.mark.parametrize(
    ("content", "source"),
    [
        ("my card\nit is late, please\nwhy\n", "lines"),
        ("__label__a my card\n__label__b it is late\n", "lines"),
        ("text\tlabel\nmy card\ta\nlate\tb\n", "csv"),
        ('{"text": "my card"}\n', "jsonl"),
        ("my O\ncard B-X\n\nit O\n\n", "conll"),
        ("I called twice, nobody answered\nMy car was hit, the other driver left\nPlease cancel, I moved abroad\n", "lines"),
        ("Where is it; I wait\nThank you; it came\n", "lines"),
        ("text, label\nI called twice, a complaint\nWhere is it, my question\n", "csv"),
        ("it came late, bad\nthank you very much, good\nnobody answered me, bad\n", "csv"),
        ("it came late,bad service\nthank you very much,good service\n", "csv"),
        ("I wait, New claim\nwhy not, New claim\nIt came, New claim\nI left, Old claim\nMy car, New claim\n", "csv"),
        ("it came late, 4.5\nthank you very much, 5\n", "csv"),
    ],
)
def test_tables_and_other_formats_come_first(tmp_path, content, source):
    (tmp_path / "a.txt").write_text(content)
    assert source_of(str(tmp_path / "a.txt"))["name"] == source


def test_other_files_are_not_taken_for_lines(tmp_path):
    for name, content in (("a.txt", b"<html><body>"), ("b.txt", b"PK\x03\x04 "), ("c.log", b"some words\n"), ("d.txt", b"\x00\x01")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match="No source reads"):
            source_of(str(tmp_path / name))


def test_init_reads_labels_of_lines_and_a_text_beside_a_table_is_none(tmp_path):
    (tmp_path / "rows.txt").write_text("".join(f"__label__l{place % 2} some text {place}\n" for place in range(30)))
    assert init(tmp_path / "rows.txt").fields == {"text": ["text"], "label": ["label"]}
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "rows.csv").write_text("text,label\na,b\n")
    (tmp_path / "notes" / "about.txt").write_text("these are\nmy rows\n")
    assert find_tables(tmp_path / "notes").paths == {"train": tmp_path / "notes" / "rows.csv"}
