from __future__ import annotations

import sys

import polars as pl
import pytest

from vertune.core import part
from vertune.core.errors import DataError, MissingExtra, NotFound, UnknownName
from vertune.sources.huggingface import Huggingface
from vertune.sources.parquet import Parquet


def test_parquet_is_lazy_and_keeps_types(tmp_path):
    path = tmp_path / "a.parquet"
    frame = pl.DataFrame({"text": ["a", ""], "labels": [["x"], []], "kind": pl.Series(["u", "v"], dtype=pl.Categorical), "__row": [9, 9]})
    frame.write_parquet(path)
    lazy = Parquet(path=str(path)).read()
    assert isinstance(lazy, pl.LazyFrame)
    read = lazy.collect()
    assert read["text"].to_list() == ["a", ""]
    assert read.schema["labels"] == pl.List(pl.String)
    assert read.schema["kind"] == pl.String
    assert read["__row"].to_list() == [1, 2]


def test_what_is_no_parquet_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_text("text\n")
    with pytest.raises(DataError, match="not a Parquet file"):
        Parquet(path=str(path)).read()


def test_hub_folders_name_their_splits_and_classes(tmp_path):
    source = Huggingface.sample(tmp_path)
    assert source.read()["label"].to_list() == ["card", "rate", "card"]
    assert source.model_copy(update={"split": "test"}).read().height == 1
    with pytest.raises(UnknownName, match=r"no split 'tets' in .*. Did you mean 'test'"):
        source.model_copy(update={"split": "tets"}).read()
    with pytest.raises(DataError, match="save_to_disk"):
        Huggingface(path=str(tmp_path)).read()


def test_a_hub_that_is_not_reachable_says_so(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def fail(*_args, **_options):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(NotFound, match="can't be loaded from the Hugging Face hub"):
        Huggingface(path="owner/name").read()


@pytest.mark.parametrize(("name", "package"), [("excel", "fastexcel"), ("sql", "sqlalchemy"), ("huggingface", "datasets")])
def test_a_missing_package_is_named_with_its_extra(name, package, tmp_path, monkeypatch):
    source = part.find("sources", name).sample(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'vertune\[{name}\]'"):
        source.read()
