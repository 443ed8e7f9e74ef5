from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.core import part
from vertune.core.errors import DataError
from vertune.sources._decode import text
from vertune.sources.csv import Csv

ENGLISH = "".join(f"the brake of my bike squeaks since day {place}\n" for place in range(20))
CHINESE = "".join(f"我的银行卡被自动取款机吞了怎么办{place}\n" for place in range(20))
FRENCH = "".join(f"Où est passée ma carte débitée hier à la gare {place} ?\n" for place in range(20))


def decode(path, encoding):
    """The content of a file, and why it can't be used."""
    source = text(path, encoding, "text file")
    with source.open() as file:
        content = file.read()
    return content, source.flaw(content)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [(ENGLISH, "utf-8"), (CHINESE, "utf-8"), (CHINESE, "gb18030"), (FRENCH, "utf-8"), (FRENCH, "cp1252"), (CHINESE[:30], "gb18030")],
)
@pytest.mark.parametrize("place", [0, 7, -2])
def test_one_nul_character_does_not_change_the_encoding(tmp_path, content, encoding, place):
    """A stray NUL once made the file UTF-16, so that a model was trained on nonsense."""
    path = tmp_path / "rows.txt"
    damaged = content[:place] + "\0" + content[place:]
    path.write_bytes(damaged.encode(encoding))
    read, flaw = decode(path, "auto")
    assert read == damaged
    assert flaw is not None
    assert "contains a NUL character" in flaw
    source = text(path, "auto", "text file")
    lines = read.split("\n")
    assert [bool(source.flaw(line)) for line in lines] == ["\0" in line for line in lines]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("content", [ENGLISH, CHINESE, FRENCH, "a,b\n"])
def test_utf16_without_a_mark_is_still_found(tmp_path, encoding, content):
    path = tmp_path / "rows.txt"
    path.write_bytes(content.encode(encoding))
    assert decode(path, "auto") == (content, None)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1, max_size=60))
def test_valid_utf8_is_read_as_utf8_whatever_it_contains(tmp_path_factory, content):
    if content.encode().count(0) > 0.3 * len(content.encode()):
        return
    path = tmp_path_factory.mktemp("decode") / "rows.txt"
    path.write_bytes(content.encode())
    read, flaw = decode(path, "utf-8" if content.startswith("\ufeff") else "auto")
    assert read == content.removeprefix("\ufeff")
    assert bool(flaw) == ("\0" in read)


def test_binary_data_is_no_text(tmp_path):
    path = tmp_path / "rows.txt"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(DataError, match="contains NUL bytes"):
        text(path, "auto", "text file")


@pytest.mark.parametrize(("name", "content"), [("csv", ENGLISH), ("jsonl", '{"text": "a"}\n'), ("conll", "a O\n"), ("squad", "{}")])
def test_a_file_that_ends_inside_a_character_is_refused(tmp_path, name, content):
    path = tmp_path / "rows.txt"
    path.write_bytes(content.encode("utf-16")[:-1])
    with pytest.raises(DataError, match="ends in the middle of a character"):
        part.find("sources", name)(path=str(path)).read()


TRADITIONAL = (
    "護士態度很差，問一句就不耐煩",
    "請問週六上午有專家門診嗎",
    "檢查報告多久能出來",
    "我想查詢信用卡帳單",
    "老師遲到了",
    "如何更改手機號碼",
)
SIMPLIFIED = (
    "护士态度很差，问一句就不耐烦",
    "请问周六上午有专家门诊吗",
    "检查报告多久能出来",
    "我想查询信用卡账单",
    "老师迟到了",
    "如何更改手机号码",
)


@pytest.mark.parametrize("written", TRADITIONAL)
@pytest.mark.parametrize("encoding", ["big5", "big5hkscs", "cp950"])
def test_a_single_row_in_traditional_characters_is_enough(tmp_path, written, encoding):
    path = tmp_path / "rows.csv"
    path.write_text(f"text,label\n{written},a\n", encoding=encoding)
    assert decode(path, "auto") == (f"text,label\n{written},a\n", None)


@pytest.mark.parametrize(
    ("written", "encoding"),
    [
        *((text, "gb18030") for text in SIMPLIFIED),
        ("佢哋嘅服務好唔錯，我哋去咗三次，啲嘢好食", "big5hkscs"),
        ("Älteres Öl, Übung: Ärger um 20 °C", "cp1252"),
        ("ПРИВЕТ, где моя карта", "cp1251"),
    ],
)
def test_other_text_is_not_taken_for_that_of_taiwan(tmp_path, written, encoding):
    path = tmp_path / "rows.csv"
    content = "text,label\n" + f"{written},a\n" * 3
    path.write_text(content, encoding=encoding)
    assert decode(path, "auto") == (content, None)


@pytest.mark.parametrize(
    ("encoding", "written", "note"),
    [
        ("cp1252", "“Where is it?” – it’s €5", "is read as CP1252"),
        ("gb18030", "我的银行卡被吞了，怎么办？", "is read as GB18030"),
        ("utf-8", "我的银行卡被吞了，怎么办？", None),
        ("utf-16", "我的银行卡被吞了，怎么办？", None),
    ],
)
def test_a_guessed_encoding_is_stated(tmp_path, encoding, written, note):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"{written} {place},a\n" for place in range(12)), encoding=encoding)
    source, notes = Csv(path=str(path)).detect()
    assert source.read()["text"][3] == f"{written} 3"
    assert [note in one for one in notes] == [True] if note else notes == ()
    assert Csv(path=str(path), encoding=encoding).detect()[1] == ()
