from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.core import part
from vertune.core.errors import NotFound
from vertune.core.kinds import Source
from vertune.sources import _files

NAMES = st.text(st.sampled_from("ab项 []{}*?#%!&$'~.-"), min_size=1, max_size=8).map(lambda name: f"x{name.strip()}y")


@settings(max_examples=60, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=3), NAMES)
def test_files_are_found_whatever_their_folders_are_called(tmp_path_factory, folders, name):
    folder = tmp_path_factory.mktemp("find").joinpath(*folders)
    folder.mkdir(parents=True)
    paths = [folder / f"{place}{name}.csv" for place in range(2)]
    for path in paths:
        path.write_text("a,b\n1,2\n")
    (folder / "other.txt").write_text("no table")
    assert _files.find(str(paths[0])) == [paths[0]]
    assert _files.find(f"{folder}/*.csv") == paths
    assert _files.find(f"{folder}/[01]*.csv") == paths
    assert _files.find(f"{folder}/**/*.csv") == paths
    with pytest.raises(NotFound):
        _files.find(f"{folder}/*.tsv")


def test_folders_can_be_patterns(tmp_path, monkeypatch):
    for name in ("a1", "a2", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.csv").write_text("a,b\n1,2\n")
    assert _files.find(f"{tmp_path}/a*/rows.csv") == [tmp_path / "a1" / "rows.csv", tmp_path / "a2" / "rows.csv"]
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in _files.find("a?/*.csv")] == ["a1/rows.csv", "a2/rows.csv"]


@pytest.mark.parametrize("name", part.names("sources"))
@pytest.mark.parametrize("folder", ["项目 [a-z] #1", "100%25 {x} *?", "~a & 'b'$c!"])
def test_every_source_reads_in_a_folder_of_any_name(tmp_path, name, folder):
    kind = part.find("sources", name)
    assert issubclass(kind, Source)
    plain, odd = tmp_path / "plain", tmp_path / folder
    for path in (plain, odd):
        path.mkdir()
    expected = kind.sample(plain).read().lazy().collect()
    if name == "sql" and "?" in folder:
        pytest.skip("a ? begins the options of a URL")
    source = kind.sample(odd)
    source.fingerprint()
    assert source.read().lazy().collect().drop("__file").equals(expected.drop("__file"))
