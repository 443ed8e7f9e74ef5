"""Measures verticals on tables: the table encoder beside columns joined into text, logistic regression and gradient boosting.

    python benchmarks/tables.py                          every system on every data set, three seeds
    python benchmarks/tables.py --systems table          some systems
    python benchmarks/tables.py --split validation --set encoder.width=64 --systems table      a trial, which is only printed

A system that is measured is measured again only with --again. Results go to benchmarks/results/tables.json. Every system gets the
same rows: a row's split is the sha1 of its line of the CSV, mod 10: 0 to 6 train, 7 validation, 8 and 9 test.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from accuracy import SPLIT, WORK, Hash, Rows, Talk, _read, machine
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from vertune.core.artifact import Home
from vertune.core.config import Config, override
from vertune.core.files import read_json, write_json
from vertune.core.parse import build
from vertune.runtime.predictor import Predictor
from vertune.steps.predict import answer
from vertune.steps.prepare import prepare
from vertune.steps.train import train

RESULT = Path(__file__).resolve().parent / "results" / "tables.json"
SEEDS = (0, 1, 2)
HASH = Hash(of="line", validation=[7], test=[8, 9])


class DataSet(BaseModel):
    """A table with a binary label."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    label: str
    positive: str
    """The class that the ROC curve is of."""
    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    joined_rows: int | None = None
    """Most training rows of the joined text, so that two shared cores finish in some minutes; None takes all."""

    @property
    def fields(self) -> tuple[str, ...]:
        """All inputs."""
        return (*self.numbers, *self.categories)


DATA = {
    "german_credit": DataSet(
        source="german_credit/german_credit_text.csv", label="Customer class", positive="2",
        numbers=(
            "Duration in month", "Credit amount", "Installment rate in percentage of disposable income", "Present residence since",
            "Age in years", "Number of existing credits at this bank", "Number of people being liable to provide maintenance for",
        ),
        categories=(
            "Checking account status", "Credit history", "Purpose", "Savings account/bonds", "Present employment since",
            "Personal status and sex", "Other debtors/guarantors", "Property", "Other installment plans", "Housing", "Job", "Telephone",
            "Foreign worker",
        ),
    ),
    "default_credit_card": DataSet(
        source="default_credit_card/default_credit_card.csv", label="default_next_month", positive="1", joined_rows=2000,
        numbers=(
            "LIMIT_BAL", "AGE", *(f"PAY_{month}" for month in range(1, 7)), *(f"BILL_AMT{month}" for month in range(1, 7)),
            *(f"PAY_AMT{month}" for month in range(1, 7)),
        ),
        categories=("SEX", "EDUCATION", "MARRIAGE"),
    ),
}  # fmt: skip
Scores = NDArray[np.float64]


def splits(data: DataSet) -> dict[str, pl.DataFrame]:
    """The rows of each split."""
    frame = _read(Rows(source=data.source, sha1=HASH), [*data.fields, data.label])
    frame = frame.with_columns(pl.col(data.numbers).cast(pl.Float64), pl.col(*data.categories, data.label).cast(pl.String))
    return {name: frame.filter(pl.col(SPLIT) == name).drop(SPLIT) for name in ("train", "validation", "test")}


def table(data: DataSet, rows: dict[str, pl.DataFrame], seed: int, options: argparse.Namespace) -> Scores:
    """The table encoder with its defaults."""
    names = {f"f{place}": name for place, name in enumerate(data.fields)}
    inputs = {key: "number" if name in data.numbers else "category" for key, name in names.items()}
    value = {"encoder": {"name": "table", "seed": seed}, "task": {"name": "classify", "inputs": inputs}}
    return _vertical(value, {**names, "label": data.label}, rows, (seed, data.positive, options))


def joined(data: DataSet, rows: dict[str, pl.DataFrame], seed: int, options: argparse.Namespace) -> Scores:
    """All columns joined into one text, for the default base."""
    if data.joined_rows:
        rows = {**rows, "train": rows["train"].sample(min(data.joined_rows, rows["train"].height), seed=seed)}
    value = {"encoder": {"name": "text", "base": "minilm"}, "task": "classify"}
    return _vertical(value, {"text": list(data.fields), "label": data.label}, rows, (seed, data.positive, options))


def _vertical(
    value: dict[str, Any], fields: dict[str, Any], rows: dict[str, pl.DataFrame], run: tuple[int, str, argparse.Namespace]
) -> Scores:
    """Prepare, train and answer; the probability of the positive class of each row of the split."""
    seed, positive, options = run
    folder = WORK / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    pl.concat([frame.with_columns(pl.lit(name).alias(SPLIT)) for name, frame in rows.items()]).write_parquet(folder / "rows.parquet")
    data: dict[str, Any] = {"source": str(folder / "rows.parquet"), "fields": fields, "split": {"name": "given", "by": SPLIT}}
    config = build(Config, override({**value, "name": "tables", "method": "full", "seed": seed, "data": data}, options.set))
    if options.split != "test":  # a second training on all labels would have seen the rows that are answered
        config = config.model_copy(update={"training": config.training.model_copy(update={"refit": "never"})})
    home, say = Home(folder / "home"), Talk(f"seed {seed}")
    model = train(config, prepare(config, home, say), home, say)
    predictor = Predictor.open(model)
    found = answer(predictor, rows[options.split].drop(data["fields"]["label"])).answers
    return np.array([one["probabilities"][positive] for one in found if one is not None])


def logistic(data: DataSet, rows: dict[str, pl.DataFrame], seed: int, options: argparse.Namespace) -> Scores:
    """Logistic regression on standardised numbers and one-hot categories; its strength is chosen by cross-validation."""
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    features = make_column_transformer(
        (StandardScaler(), list(data.numbers)), (OneHotEncoder(handle_unknown="ignore"), list(data.categories))
    )
    pipeline = make_pipeline(features, LogisticRegression(max_iter=2000, random_state=seed))
    model = GridSearchCV(pipeline, {"logisticregression__C": np.logspace(-3, 2, 10)}, scoring="roc_auc", cv=5)
    seen = pl.concat([rows["train"], rows["validation"]]) if options.split == "test" else rows["train"]
    model.fit(seen.to_pandas(), seen[data.label].to_numpy() == data.positive)
    found: Scores = model.predict_proba(rows[options.split].to_pandas())[:, 1]
    return found


def boosting(data: DataSet, rows: dict[str, pl.DataFrame], seed: int, options: argparse.Namespace) -> Scores:
    """LightGBM with a small rate; the number of trees is the best one on validation."""
    import lightgbm

    frames = {name: _coded(frame, rows["train"], data) for name, frame in rows.items()}
    labels = {name: frame[data.label].to_numpy() == data.positive for name, frame in rows.items()}
    model = lightgbm.LGBMClassifier(
        n_estimators=2000, learning_rate=0.02, num_leaves=15, min_child_samples=20, subsample=0.8, subsample_freq=1, colsample_bytree=0.8,
        reg_lambda=1.0, random_state=seed, verbose=-1, n_jobs=1,
    )  # fmt: skip
    categorical = list(range(len(data.numbers), len(data.fields)))
    model.fit(
        frames["train"], labels["train"], eval_X=frames["validation"], eval_y=labels["validation"], eval_metric="auc",
        categorical_feature=categorical, callbacks=[lightgbm.early_stopping(100, verbose=False)],
    )  # fmt: skip
    found: Scores = np.asarray(model.predict_proba(frames[options.split]))[:, 1]
    return found


def _coded(frame: pl.DataFrame, train: pl.DataFrame, data: DataSet) -> Scores:
    """Numbers as they are, categories as whole numbers by their order in the training rows."""
    columns = [frame[name].to_numpy() for name in data.numbers]
    for name in data.categories:
        places = {word: place for place, word in enumerate(sorted(train[name].unique()))}
        columns.append(np.array([places.get(word, -1) for word in frame[name]], np.float64))
    return np.stack(columns, axis=1)


System = Callable[[DataSet, dict[str, pl.DataFrame], int, argparse.Namespace], Scores]
SYSTEMS: dict[str, System] = {"table": table, "joined_text": joined, "logistic_regression": logistic, "lightgbm": boosting}


def measure(system: System, data: DataSet, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Accuracy at a probability of one half, the area under the ROC curve, and seconds of training and answering."""
    from sklearn.metrics import roc_auc_score

    rows = splits(data)
    started = time.monotonic()
    scores = system(data, rows, seed, options)
    truth = rows[options.split][data.label].to_numpy() == data.positive
    return {
        "accuracy": float(((scores > 0.5) == truth).mean()),
        "roc_auc": float(roc_auc_score(truth, scores)),
        "seconds": round(time.monotonic() - started, 1),
    }


def summary(data: DataSet, seeds: dict[str, dict[str, float]], name: str) -> dict[str, Any]:
    """Means over the seeds."""
    means = {metric: statistics.fmean(one[metric] for one in seeds.values()) for metric in ("accuracy", "roc_auc", "seconds")}
    limited = {"training_rows": data.joined_rows} if name == "joined_text" and data.joined_rows else {}
    return {"mean": means, **limited, "seeds": seeds}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--again", action="store_true", help="measure also what is measured already")
    parser.add_argument("--split", default="test", choices=["test", "validation"], help="a trial on another split")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a trial with a changed config")
    options = parser.parse_args(arguments)
    trial = bool(options.set or options.split != "test")
    result: dict[str, Any] = read_json(RESULT) if RESULT.exists() else {"command": "python benchmarks/tables.py", "data": {}}
    for name in options.data:
        data, known = DATA[name], result["data"].setdefault(name, {})
        known["rows"] = {split: frame.height for split, frame in splits(data).items()}
        systems = known.setdefault("systems", {})
        for system in options.systems:
            seeds = dict(systems[system]["seeds"]) if system in systems and not (trial or options.again) else {}
            for seed in options.seeds:
                if str(seed) in seeds:
                    continue
                seeds[str(seed)] = measure(SYSTEMS[system], data, seed, options)
                systems[system] = summary(data, seeds, system)
                if not trial:
                    write_json(RESULT, {**result, **machine(), "lightgbm": metadata.version("lightgbm")})
            print(name, system, {key: round(value, 4) for key, value in systems[system]["mean"].items()}, flush=True)


if __name__ == "__main__":
    main()
