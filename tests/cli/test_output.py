"""Columns are aligned whatever they hold, and nothing is folded."""

import pytest

from vertune.cli import output


def test_columns_are_aligned_by_what_they_hold(capsys):
    output.table(["name", "value"], [["a", 0.5], ["价格", 12345], ["long name", None]])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["name        value", "a          0.5000", "价格       12,345", "long name"]


def test_a_table_without_rows_shows_its_header(capsys):
    output.table(["a", "b"], [])
    assert capsys.readouterr().out == "a  b\n"


def test_long_lines_are_not_folded(capsys):
    output.facts({"path": "x" * 300, "none": None})
    assert capsys.readouterr().out == f"path  {'x' * 300}\n"


@pytest.mark.parametrize(("count", "shown"), [(0, "0 B"), (999, "999 B"), (1500, "2 kB"), (2_500_000, "2.5 MB"), (3e12, "3000.0 GB")])
def test_size(count, shown):
    assert output.size(count) == shown


def test_near(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert output.relative(tmp_path / "a" / "b") == "a/b"
    assert output.relative(tmp_path.parent) == str(tmp_path.parent)
