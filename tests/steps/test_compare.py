from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from vertune.core.artifact import Home
from vertune.core.config import Config, dump
from vertune.core.errors import Conflict, NotFound
from vertune.core.files import write_json
from vertune.core.parse import build
from vertune.steps.compare import compare
from vertune.tasks.classify import Classify

LABELS = ["a", "b", "c"]
RECORDS = [{"text": str(row), "label": LABELS[row % 3]} for row in range(200)]


def report(home, right, labels=LABELS, model=None, rows_hash="same", units=200):
    """A report of a model that answers this share of the rows rightly."""
    task = Classify(labels=labels).fit(pl.DataFrame(RECORDS))
    random = np.random.default_rng(0)
    answers = [
        {"label": record["label"] if draw < right else "a", "probability": 1.0}
        for record, draw in zip(RECORDS, random.random(200), strict=True)
    ]
    tally = task.tally(RECORDS, answers)
    config = dump(build(Config, {"data": {}, "task": task}))
    model = model or home.finish(home.begin("models", "m", config=config))
    run = home.begin("reports", "m", step="evaluate", config=config, parents=[model.id])
    pl.DataFrame(tally, schema=[str(place) for place in range(tally.shape[1])], orient="row").write_parquet(run.folder / "tally.parquet")
    metrics = {name: {"value": float(value)} for name, value in task.summarise(tally.sum(0)).items()}
    said = {"model": model.id, "rows": 200, "units": units, "split": "test", "rows_hash": rows_hash, "seed": 0, "metrics": metrics}
    write_json(run.folder / "metrics.json", said)
    return home.finish(run)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def test_the_better_one_wins_by_a_paired_interval(home):
    poor, good = report(home, 0.6), report(home, 0.9)
    found = compare(poor, good)
    assert (found["a"], found["b"], found["units"], found["goal"]) == (poor.id, good.id, 200, "accuracy")
    row = found["metrics"]["accuracy"]
    assert row["winner"] == "b"
    assert row["difference"]["value"] == pytest.approx(row["b"] - row["a"])
    assert 0 < row["difference"]["low"] < row["difference"]["value"] < row["difference"]["high"]
    assert "better than" in row["sentence"]
    turned = compare(good, poor)["metrics"]["accuracy"]
    assert turned["winner"] == "a"
    assert turned["difference"]["low"] == pytest.approx(-row["difference"]["high"])


def test_one_like_itself_can_not_be_told_apart(home):
    same = report(home, 0.8)
    row = compare(same, same)["metrics"]["accuracy"]
    assert row["winner"] is None
    assert "can't decide" in row["sentence"]


def test_models_with_labels_in_another_order_are_comparable(home):
    found = compare(report(home, 0.8), report(home, 0.8, labels=["c", "a", "b"]))
    assert found["metrics"]["macro_f1"]["difference"]["value"] == pytest.approx(0)


def test_a_model_stands_for_its_newest_report_on_the_same_rows(home):
    a, b = report(home, 0.6), report(home, 0.9)
    models = [home.get("models", artifact.manifest["parents"][0]) for artifact in (a, b)]
    report(home, 0.1, model=models[1], rows_hash="another file")
    found = compare(*models)
    assert (found["a"], found["b"]) == (a.id, b.id)
    newer = report(home, 0.7, model=models[1])
    assert compare(*models)["b"] == newer.id


def test_reports_of_other_rows_are_refused(home):
    with pytest.raises(Conflict, match="same rows"):
        compare(report(home, 0.8), report(home, 0.8, rows_hash="other"))


def test_a_report_that_counted_copies_one_by_one_is_refused(home):
    with pytest.raises(Conflict, match="counted rows with equal texts one by one"):
        compare(report(home, 0.8), report(home, 0.8, units=150))


def test_a_model_without_a_report_says_what_to_do(home):
    model = home.finish(home.begin("models", "bare"))
    with pytest.raises(NotFound, match="vertune evaluate"):
        compare(model, model)
