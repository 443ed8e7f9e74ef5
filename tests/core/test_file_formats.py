"""A file that no source reads is named for what it is, and the message says what to do."""

import gzip
import pickle
import sqlite3
import zipfile

import pytest

from vertune.core.config import source_of
from vertune.core.errors import ConfigError

TABLE = "text\tlabel\nmy card is lost\tcard\nthe rate is high\trate\na new card\tcard\n"


def _zip(path, *names):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, "a")


def _database(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE rows (a)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("name", "write", "what", "advice"),
    [
        ("a.zip", lambda path: _zip(path, "rows.csv"), "a zip file", "Unpack it, and name the file or folder"),
        ("a.docx", lambda path: _zip(path, "word/document.xml"), "a Word document", "Save its records as a table"),
        ("a.csv.gz", lambda path: path.write_bytes(gzip.compress(b"a,b")), "a gzip file", "Unpack it"),
        ("a.pkl", lambda path: path.write_bytes(pickle.dumps([1])), "a Python pickle", "Save its records as a table"),
        ("a.db", _database, "an SQLite database", "{name: sql, url: sqlite:///FILE"),
        ("a.bin", lambda path: path.write_bytes(b"\x01\x00\x02"), "a binary file", "Save its records as a table"),
        (
            "a.xls",
            lambda path: path.write_text("<html><table><tr><td>a</td></tr></table></html>"),
            "an HTML page",
            "Open it in a spreadsheet",
        ),
        ("a.xml", lambda path: path.write_text("<rows><row>a</row></rows>"), "XML", "Save its records as a table"),
        ("a.yml", lambda path: path.write_text("nlu:\n- intent: a\n"), "YAML", "Save its records as a table"),
        ("a.log", lambda path: path.write_text("my card is lost\nit is too late\n"), "'my card is lost'", "one in each line"),
    ],
)
def test_a_file_that_no_source_reads_is_named_for_what_it_is(tmp_path, name, write, what, advice):
    write(tmp_path / name)
    with pytest.raises(ConfigError) as error:
        source_of(str(tmp_path / name))
    assert what in str(error.value)
    assert advice in str(error.value)
    assert str(error.value).endswith(".")


@pytest.mark.parametrize("content", [TABLE.encode(), TABLE.encode("utf-16")])
def test_text_that_is_called_a_workbook_is_read_as_text(tmp_path, content):
    (tmp_path / "export.xls").write_bytes(content)
    assert source_of(str(tmp_path / "export.xls"))["name"] == "csv"
    (tmp_path / "old.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00\x00")
    assert source_of(str(tmp_path / "old.xls"))["name"] == "excel"
