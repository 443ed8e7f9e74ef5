"""vertune in Python: fit on whatever holds rows, load, predict, evaluate, save."""

import pandas as pd
import polars as pl
import pytest

import vertune
from tests.conftest import rows
from tests.steps.test_fit import losing
from vertune.core.errors import ConfigError, Conflict, DataError, NotFound, UnknownName

LABELLED = [(row["query"], row["kind"]) for row in rows()]
TEXTS, LABELS = map(list, zip(*LABELLED, strict=True))
QUICK = {"method": "head", "training": {"epochs": 1}}


@pytest.fixture(scope="session")
def support(fitted):
    return vertune.load("support", fitted[0].folder)


@pytest.mark.parametrize(
    "data",
    [
        (TEXTS, LABELS),
        [{"text": text, "label": label} for text, label in LABELLED],
        pd.DataFrame({"text": TEXTS, "label": pd.Categorical(LABELS)}, index=range(100, 160)),
        pl.DataFrame({"text": TEXTS, "label": LABELS}).lazy(),
        {"train": (TEXTS[:40], LABELS[:40]), "test": [{"text": text, "label": label} for text, label in LABELLED[40:]]},
    ],
    ids=["pair", "records", "pandas", "polars", "splits"],
)
def test_fit_takes_whatever_holds_rows(data, tiny_base, tmp_path):
    vertical = vertune.fit(data, home=tmp_path, base=str(tiny_base), **QUICK)
    assert vertical.labels == ["food", "place"]
    assert vertical.predict("some bread")["label"] in {"food", "place"}
    assert 0 <= vertical.metrics["validation"]["accuracy"] <= 1


def test_fit_takes_a_path_and_names_of_columns(table, tiny_base, tmp_path):
    vertical = vertune.fit(
        table, text="query", label="channel", time_limit=60, home=tmp_path, base=str(tiny_base), name="by-channel", **QUICK
    )
    assert vertical.labels == ["mail", "web"]
    assert vertical.config["data"]["fields"] == {"text": "query", "label": "channel"}
    assert vertical.config["training"]["time_limit"] == 60
    assert vertune.load("by-channel@live", tmp_path).id == vertical.id


def test_a_model_of_a_file_has_the_name_of_the_file(table, tiny_base, tmp_path):
    vertical = vertune.fit(table, text="query", label="kind", home=tmp_path, base=str(tiny_base), accept=True, **QUICK)
    assert vertune.load(table.stem, tmp_path).id == vertune.load(f"{table.stem}@live", tmp_path).id == vertical.id


def test_fit_warns_of_a_model_that_is_worse_than_a_baseline(table, tiny_base, tmp_path, monkeypatch, caplog):
    losing(monkeypatch)
    vertical = vertune.fit(table, text="query", label="kind", home=tmp_path, base=str(tiny_base), **QUICK)
    assert "queries@live was not pointed to it" in caplog.text
    assert vertical.home.aliases() == {}
    assert vertical.predict("some bread")["label"] in {"food", "place"}


def test_metrics_tell_test_rows_from_validation_rows(support):
    assert list(support.metrics) == ["test", "validation"]


def test_fit_another_task(tiny_base, tmp_path):
    events = []
    data = [{"text": row["query"], "length": len(row["query"]) / 7} for row in rows()]
    vertical = vertune.fit(
        data,
        text="text",
        label="length",
        task="regress",
        home=tmp_path,
        base=str(tiny_base),
        progress=lambda kind, **_: events.append(kind),
        **QUICK,
    )
    assert isinstance(vertical.predict("some bread")["score"], float)
    assert "clean" in events


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, "  "], ids=["None", "NaN", "NA", "blank"])
def test_a_missing_text_or_label_is_rejected_and_never_learnt(missing, tiny_base, tmp_path):
    texts, labels = [missing, *TEXTS[1:]], [LABELS[0], missing, *LABELS[2:]]
    vertical = vertune.fit((texts, labels), home=tmp_path, base=str(tiny_base), **QUICK)
    dataset = vertical.home.get("datasets", vertical.artifact.manifest["parents"][0])
    assert vertical.labels == ["food", "place"]
    assert dataset.manifest["rows"]["rejected"] == 2
    stored = pl.concat([pl.read_parquet(file) for file in dataset.folder.glob("*.parquet")], how="diagonal_relaxed")["text"].to_list()
    assert set(stored) <= set(TEXTS)


@pytest.mark.parametrize("extra", [[pd.NaT], [{1, 2}], [pd.Period("2024-01")], [b"x", 1], [pd.NA, 1]], ids=str)
def test_columns_that_nobody_reads_do_not_matter(extra, tiny_base, tmp_path):
    table = pd.DataFrame({"text": TEXTS, "label": LABELS, "more": pd.Series((extra * 60)[:60], dtype=object)})
    assert vertune.fit(table, home=tmp_path, base=str(tiny_base), **QUICK).labels == ["food", "place"]


@pytest.mark.parametrize(
    ("data", "options", "error", "said"),
    [
        ("no/such.csv", {}, NotFound, "no file"),
        ((["a", "b"], ["x"]), {}, DataError, "2 texts but 1 labels"),
        (7, {}, DataError, "Pass a path, a data frame"),
        ((TEXTS, LABELS), {"text": "txt"}, UnknownName, "text"),
        ((TEXTS, LABELS), {"methd": "head"}, ConfigError, "Did you mean 'method'"),
        ({"test": (TEXTS, LABELS), "train": "queries.csv"}, {}, NotFound, "There is no file"),
        ({"test": (TEXTS, LABELS)}, {}, ConfigError, "expected 'train'"),
    ],
)
def test_fit_says_what_is_wrong(data, options, error, said, tmp_path):
    with pytest.raises(error, match=said):
        vertune.fit(data, home=tmp_path, **options)


def test_predict_has_the_shape_of_what_it_is_given(support, table):
    one = support.predict("some bread")
    assert support.predict({"text": "some bread"}) == one
    assert support.predict({"query": "some bread"}) == one
    assert [answer["label"] for answer in support.predict(["some bread", {"query": "some bread"}])] == [one["label"]] * 2
    assert support.predict(pd.Series(["some bread"])) == [one]
    assert support.predict(pd.DataFrame({"query": ["some bread"], "kind": ["nonsense"]})) == [one]
    assert support.predict(pl.DataFrame({"text": ["some bread"]})) == [one]
    assert len(support.predict(table)) == 60
    assert support.predict([]) == []


def test_predict_names_the_record_that_it_can_not_answer(support):
    with pytest.raises(DataError, match=r"Record 2 can't be answered: .*empty"):
        support.predict(["some bread", " "])
    with pytest.raises(UnknownName, match="query"):
        support.predict(pl.DataFrame({"other": ["some bread"]}))


def test_a_string_is_a_text_even_if_a_file_has_its_name(support, table, tmp_path, monkeypatch):
    (tmp_path / "bread").mkdir()
    (tmp_path / "soup").write_text("not rows")
    monkeypatch.chdir(tmp_path)
    for text in ("bread", "soup", "/", "~", str(table)):
        assert isinstance(support.predict(text), dict)
        assert len(support.predict([text, text])) == 2
    assert len(support.predict(file=str(table))) == len(support.predict(table)) == 60
    for wrong in ({}, {"data": "a", "file": table}):
        with pytest.raises(ConfigError, match="expected one of them"):
            support.predict(**wrong)


@pytest.mark.parametrize("items", [["a", 5], ["a", b"b"], [["a", 5]], [{"text": "a"}, 5]], ids=str)
def test_an_item_that_is_no_text_is_refused_with_its_number(items, support):
    with pytest.raises(DataError, match=f"Item {len(items)} has the type"):
        support.predict(items)


def test_evaluate_on_the_test_split_and_on_other_rows(support):
    measured = support.evaluate()
    assert measured["split"] == "test"
    assert measured["report"].endswith("report.html")
    assert support.evaluate(pl.DataFrame(rows(20)))["rows"] == 20


def test_save_and_load_from_a_folder(support, tmp_path):
    for base in (False, True):
        folder = support.save(tmp_path / f"model-{base}", base=base)
        assert vertune.load(folder).predict("some bread") == support.predict("some bread")
        assert (folder / "base").is_dir() == base
        with pytest.raises(Conflict, match="not empty"):
            support.save(folder)


def test_export(support, tmp_path):
    assert (support.export("sentence_transformers", tmp_path / "out") / "modules.json").exists()


def test_load_says_what_there_is(fitted):
    with pytest.raises(NotFound, match="support"):
        vertune.load("suport", fitted[0].folder)


def test_it_shows_what_it_is(support):
    assert repr(support).startswith("Vertical('support-")
    assert "accuracy" in repr(support)


def test_files_without_a_header_are_read_alike(tmp_path):
    """The test rows too: their first row is no header."""
    from vertune.api import _Columns, _settings
    from vertune.core.config import parse

    rows = [f"the card of customer {row} was lost in {'rome' if row % 2 else 'oslo'},{'ab'[row % 2]}" for row in range(60)]
    paths = {"train": tmp_path / "train.csv", "test": tmp_path / "test.csv"}
    for name, path in paths.items():
        path.write_text("\n".join(rows[:40] if name == "train" else rows[40:]) + "\n", encoding="utf-8")
    config = parse(_settings(paths, {}, _Columns([], None), {"name": "cards"}))
    read = [source.read().lazy().collect() for source in (config.data.source, config.data.test)]
    assert [frame.height for frame in read] == [40, 20]
    assert read[0].columns == read[1].columns
