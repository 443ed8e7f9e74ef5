from __future__ import annotations

import csv
import io

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vertune.core.config import source_of
from vertune.core.errors import ConfigError, DataError, NotFound
from vertune.sources.csv import Csv

CHINESE = "text,label\n" + "".join(f"我的银行卡被自动取款机吞了怎么办{place},卡片\n" for place in range(30))


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "rows.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def rows(path, **options):
    frame = Csv(path=str(path), **options).read()
    return frame, list(frame.drop("__file", "__row", "__error").iter_rows())


@pytest.mark.parametrize(("delimiter", "name"), [(",", "a.csv"), ("\t", "a.tsv"), (";", "a.csv"), ("|", "a.txt")])
def test_delimiter_is_found(write, delimiter, name):
    lines = [["text", "label"], ["one, two; three|four" if delimiter == "\t" else "one two", "a"], ["five", "b"]]
    frame, found = rows(write("\n".join(delimiter.join(line) for line in lines), name))
    assert found == [tuple(line) for line in lines[1:]]
    assert frame["__row"].to_list() == [1, 2]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030"])
def test_encoding_is_found(write, encoding):
    frame, found = rows(write(CHINESE.encode(encoding)))
    assert frame.columns[:2] == ["text", "label"]
    assert found[0] == ("我的银行卡被自动取款机吞了怎么办0", "卡片")
    assert frame["__error"].null_count() == 30


def test_western_encoding_is_not_taken_for_chinese(write):
    text = "texte,label\n" + "".join(f"Où est passée ma carte débitée hier à la gare numéro {place} ?,échoué\n" for place in range(40))
    _, found = rows(write(text.encode("cp1252")))
    assert found[0] == ("Où est passée ma carte débitée hier à la gare numéro 0 ?", "échoué")


def test_named_encoding_is_used(write):
    _, found = rows(write("text,label\nпривет мир,да\n".encode("cp1251")), encoding="cp1251")
    assert found == [("привет мир", "да")]
    with pytest.raises(ConfigError, match="no encoding 'utf-9'"):
        rows(write("a,b\n1,2\n"), encoding="utf-9")


def test_a_few_lines_in_another_encoding_are_rejected_with_their_row(write):
    lines = [f"卡片问题 {place},card".encode() for place in range(40)]
    lines[6] = "卡片问题,card".encode("gb18030")
    frame, found = rows(write(b"text,label\n" + b"\n".join(lines)))
    bad = frame.filter(frame["__error"].is_not_null())
    assert bad["__row"].to_list() == [7]
    assert "mixes encodings" in bad["__error"][0]
    assert len(found) == 40


def test_utf8_lines_in_a_gb18030_file_are_not_read_as_other_characters(write):
    lines = [f"卡片问题 {place},card".encode("gb18030") for place in range(40)]
    lines[6] = "卡片问题,card".encode()
    lines[9] = "联通,card".encode("gb18030")
    frame, found = rows(write(b"text,label\n" + b"\n".join(lines)))
    assert frame.filter(frame["__error"].is_not_null())["__row"].to_list() == [7]
    assert found[9] == ("联通", "card")


def test_a_file_half_in_each_encoding_is_refused(write):
    halves = CHINESE.encode() + CHINESE.encode("gb18030")
    with pytest.raises(DataError, match=r"mixes encodings.*Save the file in UTF-8"):
        rows(write(halves))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12) for _ in range(3)]),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(",;|"),
)
def test_what_a_csv_writer_writes_is_read_back(tmp_path_factory, table, delimiter):
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("first", "second", "third"), *table])
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    frame, found = rows(path)
    assert found == table
    assert frame["__error"].null_count() == len(table)


def test_rows_of_another_width_are_rejected_not_lost(write):
    frame, _ = rows(write("text,label\ngood,a\nno quotes, here,b\nshort\ntrailing,c,,\n"))
    errors = frame["__error"].to_list()
    assert [bool(error) for error in errors] == [False, True, True, False]
    assert "has 3 fields where the header has 2: put double quotes around" in errors[1]
    assert "has 1 field where the header has 2: some are missing" in errors[2]
    assert frame["__row"].to_list() == [1, 2, 3, 4]


def test_a_bad_quote_costs_only_its_own_line(write):
    frame, found = rows(write('text,label\ngood,a\n"bad"quote,b\nfine,c\n"never closed,d\nnot swallowed,e\n'))
    errors = frame["__error"].to_list()
    assert [bool(error) for error in errors] == [False, True, False, True, False]
    assert "line 3: a quote that is opened here is closed in the middle of a field" in errors[1]
    assert "line 5: a quote that is opened here is never closed" in errors[3]
    assert found[2] == ("fine", "c")
    assert found[4] == ("not swallowed", "e")


@settings(max_examples=80, deadline=None)
@given(
    table=st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs"], exclude_characters='\0\r\n"'), max_size=12)] * 3),
        min_size=2,
        max_size=30,
    ),
    line=st.integers(0, 29),
    column=st.integers(0, 2),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_quote_that_is_never_closed_loses_no_other_row(tmp_path_factory, table, line, column, encoding):
    path, line = tmp_path_factory.mktemp("csv") / "rows.csv", line % len(table)
    written = []
    for number, row in enumerate([("first", "second", "third"), *table]):
        cells = [f'"{cell}"' if "," in cell else cell for cell in row]
        if number == line + 1:  # the quotes of another field of this row could close it by chance
            assume(not any("," in cell for place, cell in enumerate(row) if place != column))
            cells[column] = '"' + row[column]
        written.append(",".join(cells) + "\n")
    path.write_text("".join(written), encoding=encoding, newline="")
    frame, found = rows(path, encoding=encoding)
    assert [place for place, error in enumerate(frame["__error"]) if error] == [line]
    assert f"line {line + 2}: a quote that is opened here" in frame["__error"][line]
    assert found[:line] + found[line + 1 :] == table[:line] + table[line + 1 :]


def test_a_quote_that_a_later_one_closes_by_chance_swallows_no_rows(write):
    body = [f"question {place},wheel\n" for place in range(40)]
    body[7], body[29] = '"question 7,wheel\n', 'a rim of 5",wheel\n'
    frame, found = rows(write("text,label\n" + "".join(body)))
    assert frame.filter(frame["__error"].is_not_null())["__row"].to_list() == [8]
    assert "line 9: a quote that is opened here is closed only 22 rows later" in frame["__error"][7]
    assert found[28:30] == [("question 28", "wheel"), ('a rim of 5"', "wheel")]


@pytest.mark.parametrize("broken", [',",', '",,', ',,"', '"a,b,,'])
def test_a_quote_that_opens_a_later_field_does_not_close_an_earlier_one(write, broken):
    frame, found = rows(write(f'first,second,third\n{broken}\n,,",0"\nx,y,z\n'))
    assert "line 2: a quote that is opened here is closed only in the next row" in frame["__error"][0]
    assert found[1:] == [("", "", ",0"), ("x", "y", "z")]


def test_a_quote_inside_a_field_beside_a_text_of_two_lines_breaks_no_row(write):
    frame, found = rows(write('text,size\n"a rim\nof steel",5" wide\nfine,3\n'))
    assert frame["__error"].null_count() == 2
    assert found[0] == ("a rim\nof steel", '5" wide')


def test_a_text_of_many_lines_stays_one_row(write):
    letter = "Dear team,\nthe brake, the wheel\nand the rim squeak.\n\nYours,\nAnna\n"
    _, found = rows(write(f'text,label\n"{letter}",brake\n"a\nb\nc\nd\ne\nf",wheel\n'))
    assert found == [(letter, "brake"), ("a\nb\nc\nd\ne\nf", "wheel")]


def test_many_bad_quotes_are_read_in_linear_time(write):
    lines = [f'"open {place},a\n' if place % 2 else f"plain {place},a\n" for place in range(40_000)]
    frame, _ = rows(write("text,label\n" + "".join(lines)))
    assert frame.height == 40_000
    assert frame["__error"].null_count() == 20_000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize("first", ["sep={}\r\n", '"sep={}"\r\n', "SEP={}\n"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t", "|", "^"])
def test_the_line_with_which_excel_names_the_delimiter_is_used(write, encoding, first, delimiter):
    content = first.format(delimiter) + delimiter.join(("text", "label")) + "\r\n" + delimiter.join(("刹车, brake", "a")) + "\r\n"
    frame, found = rows(write(content.replace(", ", " ").encode(encoding)))
    assert frame.columns[:2] == ["text", "label"]
    assert found == [("刹车 brake", "a")]


def test_header_cells_become_names_on_one_line(write):
    frame, found = rows(write('"What is your\r\nproblem?","Kind\n(one of three)",\n"a\nb",wheel,x\n'))
    assert frame.columns[:3] == ["What is your problem?", "Kind (one of three)", "column_3"]
    assert found == [("a\nb", "wheel", "x")]
    with pytest.raises(DataError, match="names 'a b' more than once"):
        rows(write('"a\nb",a b\n1,2\n'))


@pytest.mark.parametrize("cut", ["\u2028", "\u0085", "\f", "\v", "\x1c"])
def test_only_line_ends_end_a_row(write, cut):
    frame, found = rows(write("text;label\n" + f"one{cut}two, three;a\n" * 5))
    assert frame.height == 5
    assert found[0] == (f"one{cut}two, three", "a")


def test_quotes_are_plain_characters_in_tabs_where_they_do_not_pair(write):
    _, found = rows(write('text\tlabel\n"he said\ta\nshe "said"\tb\n', "a.tsv"))
    assert found == [('"he said', "a"), ('she "said"', "b")]


def test_a_text_longer_than_the_usual_limit_is_read(write):
    _, found = rows(write(f"text,label\n{'x' * 200_000},a\n"))
    assert len(found[0][0]) == 200_000


def test_files_without_a_header_and_patterns(write, tmp_path):
    write("one,a\n", "p1.csv")
    write("two,b\nthree,c\n", "p2.csv")
    frame, found = rows(tmp_path / "p*.csv", header=False)
    assert frame.columns[:2] == ["column_1", "column_2"]
    assert found == [("one", "a"), ("two", "b"), ("three", "c")]
    assert frame["__row"].to_list() == [1, 1, 2]


def test_a_delimiter_in_the_header_alone_belongs_to_a_name(write):
    frame = Csv(path=str(write("yes|no\ngood\nbad\n"))).read()
    assert frame["yes|no"].to_list() == ["good", "bad"]
    assert frame["__error"].null_count() == 2


def test_one_column_needs_no_delimiter(write):
    _, found = rows(write("text\nhello, there\nyes\n"), delimiter="|")
    assert found == [("hello, there",), ("yes",)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"text,label\n", "has a header .text, label., but no rows"),
        (b"a,a\n1,2\n", "names 'a' more than once"),
        (b"PK\x03\x04abc", "begins like a zip or Excel file"),
        (b"PAR1abc", "begins like a Parquet file"),
        (bytes(range(256)) * 20, "NUL bytes"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(write, content, words):
    with pytest.raises(DataError, match=words) as caught:
        rows(write(content))
    assert "rows.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_nearest(write, tmp_path):
    write("a,b\n1,2\n", "train.csv")
    with pytest.raises(NotFound, match=r"Did you mean 'train.csv'"):
        rows(tmp_path / "trian.csv")
    with pytest.raises(DataError, match="is a folder"):
        rows(tmp_path)


@pytest.mark.parametrize("name", ["a.csv", "a.txt"])
@pytest.mark.parametrize("delimiter", ["||", "::", "|||", "##", "<sep>"])
def test_a_delimiter_of_several_characters_is_found(write, delimiter, name):
    lines = [["text", "label"], ["one, two; three", "a"], [f'"four{delimiter}five"', "b"], ["six: 7|8 #9", "a"]]
    path = write("\n".join(delimiter.join(line) for line in lines), name)
    assert source_of(str(path))["name"] == "csv"
    for options in ({}, {"delimiter": delimiter}):
        frame, found = rows(path, **options)
        assert frame.columns[:2] == ["text", "label"]
        assert found == [("one, two; three", "a"), (f"four{delimiter}five", "b"), ("six: 7|8 #9", "a")]
    assert Csv(path=str(path)).separator() == delimiter


def test_an_empty_column_makes_no_longer_delimiter(write):
    frame, found = rows(write("text|note|label\n" + "".join(f"text {place}||a\n" for place in range(30))))
    assert frame.columns[:3] == ["text", "note", "label"]
    assert found[0] == ("text 0", "", "a")


def test_a_delimiter_that_ends_lines_or_quotes_is_refused(write):
    for delimiter in ('"', "|\n"):
        with pytest.raises(ConfigError, match="other than quotes and line ends"):
            rows(write("a,b\n1,2\n"), delimiter=delimiter)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_rows_above_the_names_of_the_columns_are_found(write, delimiter):
    lines = ["Export of today", "", delimiter.join(["id", "text", "label"])]
    lines += [delimiter.join([str(place), f"a text {place}", "ab"[place % 2]]) for place in range(20)]
    source, notes = Csv(path=str(write("\n".join(lines) + "\n"))).detect()
    assert source.header == 2
    assert "are in row 2" in notes[0]
    frame = source.read()
    assert frame.columns[:3] == ["id", "text", "label"]
    assert frame["text"].to_list() == [f"a text {place}" for place in range(20)]


def test_a_header_below_the_last_row_is_refused(write):
    with pytest.raises(DataError, match="has no row 9"):
        rows(write("a,b\n1,2\n"), header=9)


@pytest.mark.parametrize(("written", "meant"), [(True, 1), (False, 0)])
def test_configs_that_only_say_whether_there_is_a_header_keep_their_meaning(written, meant):
    assert Csv(path="a.csv", header=written).header == meant
