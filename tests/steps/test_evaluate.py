from __future__ import annotations

import csv
import html
import json
from types import SimpleNamespace

import polars as pl
import pytest

from tests.learning.conftest import sentences
from vertune.core.artifact import Home
from vertune.core.config import Config, dump
from vertune.core.errors import ConfigError, DataError, ModelError, NotFound, StorageError
from vertune.core.files import read_json, write_json
from vertune.core.parse import build
from vertune.data import dataset as datasets
from vertune.evaluation import mistakes, recorded
from vertune.evaluation import scores as measure
from vertune.reports.verdict import verdict
from vertune.steps import evaluate as step
from vertune.steps.evaluate import evaluate

FRAMES = {
    "train": sentences(150),
    "validation": sentences(40, 1),
    "test": [{**row, "channel": str(place % 2)} for place, row in enumerate(sentences(90, 2))],
}


class Oracle:
    """A predictor that knows the expected labels and is wrong in every tenth row."""

    cleaners = ()

    def __init__(self, config):
        self.config, self.task = config, config.task

    def untrained(self):
        return None

    def answer(self, records):
        first = self.task.labels[0]
        labels = [first if row % 10 == 0 else record["label"] for row, record in enumerate(records)]
        return [
            {"label": label, "probability": 0.8, "probabilities": {label: 0.8}, "truncated": row % 20 == 0}
            for row, label in enumerate(labels)
        ]


def trained(home, frames, fields=None, labels="keep", **entries):
    """A model artifact of a dataset, as train leaves it, without weights."""
    tables = {name: pl.DataFrame(rows) for name, rows in frames.items()}
    run = home.begin("datasets", "topics", step="prepare")
    datasets.write(run.folder, tables)
    dataset = home.finish(run, rows={name: table.height for name, table in tables.items()})
    data = {"fields": fields or {}, "labels": labels}
    config = build(Config, {"name": "topics", "data": data, "method": "full", "evaluate": {"slices": ["channel"]}})
    config = config.model_copy(update={"task": config.task.fit(tables["train"])})
    run = home.begin("models", "topics", step="train", config=dump(config), parents=[dataset.id], **entries)
    run.event("training")
    for at in (1, 2, 3):
        run.event("step", step=at, loss=1 / at)
        run.event("evaluated", step=at, metric=0.2 * at)
    return home.finish(run)


@pytest.fixture
def home(tmp_path, monkeypatch):
    opened = SimpleNamespace(open=lambda model, many: Oracle(build(Config, model.manifest["config"])))
    monkeypatch.setattr(step, "Predictor", opened)
    monkeypatch.setattr(measure, "ROUNDS", 100)
    return Home(tmp_path / "home")


def test_a_report_holds_what_a_person_and_a_machine_need(home):
    model = trained(home, FRAMES, chosen={"why": "12 s were left"})
    report = evaluate(model, home)
    measured = read_json(report.folder / "metrics.json")
    assert {path.name for path in report.folder.iterdir()} == {
        "manifest.json", "events.jsonl", "metrics.json", "report.html", "errors.csv", "answers.jsonl", "tally.parquet",
    }  # fmt: skip
    assert report.manifest["parents"] == [model.id, model.manifest["parents"][0]]
    assert report.manifest["status"] == "done"
    assert measured["metrics"]["accuracy"] == report.manifest["metrics"]["test"]["accuracy"]
    assert 0.9 <= measured["metrics"]["accuracy"]["value"] < 1
    assert set(measured["baselines"]) == set(measured["differences"]) == set(measured["verdicts"]) == {"majority", "tfidf"}
    assert measured["verdicts"]["majority"]["winner"] == "model"
    assert measured["truncated"] == pytest.approx(5 / 90)
    assert [part["column"] for part in measured["slices"]] == ["length", "channel"]
    lines = [json.loads(line) for line in (report.folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["record"]["text"] for line in lines] == [row["text"] for row in FRAMES["test"]]
    assert pl.read_parquet(report.folder / "tally.parquet").shape == (90, 9)
    assert [event["event"] for event in report.events()] == ["answering", "baselines", "scoring"]


def test_the_page_answers_the_four_questions_at_its_top(home):
    page = (evaluate(trained(home, FRAMES, chosen={"why": "12 s were left"}), home).folder / "report.html").read_text(encoding="utf-8")
    top = page.split("<body>")[1].split("<main>")[0]
    for wanted in (
        "How good is it?",
        "How certain is that?",
        "Better than a simple baseline?",
        "What does it get wrong?",
        "of 90",
        "5.6\u00a0% of the inputs",
    ):
        assert wanted in top, wanted
    for wanted in (
        "12 s were left",
        "Confusion matrix",
        "Reliability diagram",
        "Training loss",
        "By channel",
        "The worst answers",
    ):
        assert wanted in page, wanted


def test_figures_of_test_rows_join_the_card_of_the_model(home):
    model = trained(home, FRAMES)
    evaluate(model, home, "validation")
    assert recorded.recorded(model) is None
    report = evaluate(model, home)
    measured = read_json(report.folder / "metrics.json")
    entries = recorded.recorded(model)
    assert entries["report"] == report.id
    assert verdict(entries) == verdict(measured)
    text = (model.folder / "README.md").read_text(encoding="utf-8")
    assert "**test** rows (90 rows)" in text
    assert verdict(measured).headline in text
    assert next(iter(recorded.metrics_by_split(model))) == "test"
    assert recorded.metrics_by_split(model)["test"]["accuracy"] == measured["metrics"]["accuracy"]["value"]
    assert recorded.entries_by_split(report) == {"test": recorded.entries_by_split(model)["test"]}
    assert recorded.entries_by_split(report)["test"]["accuracy"]["low"] is not None


def test_a_model_whose_folder_can_not_be_written_is_evaluated_all_the_same(home, monkeypatch):
    def refuse(*_):
        raise StorageError("Read-only.")

    monkeypatch.setattr(recorded, "write_json", refuse)
    assert evaluate(trained(home, FRAMES), home).manifest["status"] == "done"


def test_the_page_begins_with_what_to_do_and_leads_to_every_wrong_answer(home, monkeypatch):
    monkeypatch.setattr(mistakes, "LISTED", 3)
    rows = [{**row, "__file": "/data/test.csv", "__row": 7 * place + 1} for place, row in enumerate(FRAMES["test"])]
    model = trained(home, {**FRAMES, "test": rows})
    report = evaluate(model, home)
    measured = read_json(report.folder / "metrics.json")
    page = html.unescape((report.folder / "report.html").read_text(encoding="utf-8"))
    assert page.index("<h1>") < page.index(verdict(measured).headline) < page.index("What to do next") < page.index("How good is it?")
    assert f"vertune alias {model.manifest['name']}@live {model.id}" in page
    assert len(measured["details"]["errors"]) == 3
    with (report.folder / "errors.csv").open(encoding="utf-8-sig", newline="") as file:
        wrong = list(csv.DictReader(file))
    assert len(wrong) == measured["details"]["error_count"] == round(90 * (1 - measured["metrics"]["accuracy"]["value"])) > 3
    assert f"All {len(wrong)} wrong answers" in page
    by_row = {str(row["__row"]): row for row in rows}
    assert all(by_row[row["row"]]["text"] == row["text"] and row["file"] == "/data/test.csv" for row in wrong)
    for error in measured["details"]["errors"]:
        assert f'<td class="place" data-title="row">{error["__row"]}</td>' in page


def test_the_same_evaluation_says_the_same(home):
    model = trained(home, FRAMES)
    first, second = (read_json(evaluate(model, home).folder / "metrics.json") for _ in range(2))
    assert first == second


def test_copies_among_the_measured_rows_are_said(home):
    model = trained(home, FRAMES)
    dataset = home.get("datasets", model.manifest["parents"][0])
    for copies, said in ((20, True), (1, False)):
        write_json(dataset.folder / "report.json", {"duplicates": {"test": copies, "train": 80}, "leakage": []})
        notes = read_json(evaluate(model, home).folder / "metrics.json")["notes"]
        assert any(f"{copies} rows of the 90 rows measured here repeat" in note for note in notes) is said


def test_copies_of_a_row_count_as_one_unit(home):
    model = trained(home, FRAMES)
    rows = pl.DataFrame(FRAMES["test"])
    copied = evaluate(model, home, frame=pl.concat([rows] * 5))
    measured = read_json(copied.folder / "metrics.json")
    distinct = rows["text"].n_unique()
    assert (measured["rows"], measured["units"]) == (5 * rows.height, distinct)
    assert pl.read_parquet(copied.folder / "tally.parquet").height == distinct
    once = read_json(evaluate(model, home, frame=rows).folder / "metrics.json")
    assert measured["metrics"]["accuracy"] == pytest.approx(once["metrics"]["accuracy"])


def test_labels_that_occur_in_no_row_are_counted(home):
    model = trained(home, FRAMES)
    labels = sorted({row["label"] for row in FRAMES["test"]})
    rows = pl.DataFrame(FRAMES["test"]).filter(pl.col("label") != labels[0])
    notes = read_json(evaluate(model, home, frame=rows).folder / "metrics.json")["notes"]
    assert any(note.startswith(f"1 of {len(labels)} labels occur in none of these rows.") for note in notes)
    assert not any("occur in none" in note for note in read_json(evaluate(model, home).folder / "metrics.json")["notes"])


@pytest.mark.parametrize("marked", [False, True])
def test_other_spellings_are_merged_as_in_training(home, marked):
    model = trained(home, FRAMES, labels="merge")
    frame = pl.DataFrame(FRAMES["test"]).with_columns(pl.when(pl.int_range(pl.len()) < 7).then(pl.col("label").str.to_uppercase() + " ")
                                                      .otherwise("label").alias("label"))  # fmt: skip
    if marked:
        frame = frame.with_columns(pl.lit("a.csv").alias("__file"), pl.int_range(1, pl.len() + 1).alias("__row"))
    measured = read_json(evaluate(model, home, frame=frame).folder / "metrics.json")
    assert (
        measured["metrics"]["accuracy"]["value"] == read_json(evaluate(model, home).folder / "metrics.json")["metrics"]["accuracy"]["value"]
    )
    assert any("7 of 90 labels were merged with another spelling" in note for note in measured["notes"])
    with pytest.raises(DataError, match="7 rows have labels that the task does not have"):
        evaluate(trained(home, FRAMES), home, frame=frame)


def test_a_missing_test_split_is_said_loudly(home):
    report = evaluate(trained(home, {name: FRAMES[name] for name in ("train", "validation")}, chosen={"refit": 190}), home)
    measured = read_json(report.folder / "metrics.json")
    assert (measured["split"], measured["rows"]) == ("validation", 40)
    page = (report.folder / "report.html").read_text(encoding="utf-8")
    assert "There is no test split" in page
    assert "trained on the validation rows too" in page
    assert any("channel" in note for note in measured["notes"])


def test_texts_that_training_saw_are_said(home):
    model = trained(home, FRAMES)
    folder = home.get("datasets", model.manifest["parents"][0]).folder
    leaks = [{"splits": ["train", split], "rows": rows, "share": rows / 90} for split, rows in (("test", 9), ("validation", 9))]
    write_json(folder / "report.json", {"leakage": leaks})
    (note,) = read_json(evaluate(model, home).folder / "metrics.json")["notes"]
    assert "9 rows measured here (10.0\u00a0%)" in note
    write_json(folder / "report.json", {"leakage": [{"splits": ["train", "test"], "rows": 0, "share": 0.0}]})
    assert read_json(evaluate(model, home).folder / "metrics.json")["notes"] == []


def test_other_splits_are_not_replaced(home):
    model = trained(home, {"train": FRAMES["train"], "test": FRAMES["test"]})
    with pytest.raises(NotFound, match="no split 'validation'"):
        evaluate(model, home, "validation")
    assert "was trained on" in read_json(evaluate(model, home, "train").folder / "metrics.json")["notes"][0]


def test_baselines_of_many_rows_learn_from_some_and_say_so(home, monkeypatch):
    monkeypatch.setattr(step, "BASELINE_ROWS", 50)
    report = evaluate(trained(home, FRAMES), home)
    assert read_json(report.folder / "metrics.json")["baseline_rows"] == {"used": 50, "of": 150}
    assert "trained on 50 of the 150 training rows" in (report.folder / "report.html").read_text(encoding="utf-8")


def test_a_frame_may_bear_the_names_of_the_training_data(home):
    model = trained(home, FRAMES, fields={"text": "utterance", "label": "intent"})
    rows = pl.DataFrame([{"utterance": row["text"], "intent": row["label"]} for row in FRAMES["test"][:30]])
    given = read_json(evaluate(model, home, frame=rows).folder / "metrics.json")
    plain = read_json(evaluate(model, home, frame=rows.rename({"utterance": "text", "intent": "label"})).folder / "metrics.json")
    assert (given["split"], given["rows"]) == ("given", 30)
    assert given["metrics"] == plain["metrics"]
    assert given["rows_hash"] == plain["rows_hash"]


def test_given_rows_that_the_model_learnt_from_are_told(home):
    model = trained(home, FRAMES)
    seen = {row["text"] for row in FRAMES["train"]}
    for rows, told in ((FRAMES["train"], True), ([row for row in FRAMES["test"] if row["text"] not in seen], False)):
        notes = read_json(evaluate(model, home, frame=pl.DataFrame(rows)).folder / "metrics.json")["notes"]
        assert any("a text that is also in the training rows" in note for note in notes) == told, notes


def test_bad_rows_of_a_frame_are_counted_and_listed(home):
    rows = pl.DataFrame(
        [{**row, "__error": None} for row in FRAMES["test"][:10]] + [{"text": " ", "label": "food"}, {"text": "x", "label": None}]
    )
    rows = rows.with_row_index("__row").with_columns(pl.when(pl.col("__row") == 3).then(pl.lit("broken")).alias("__error"))
    report = evaluate(trained(home, FRAMES), home, frame=rows)
    rejected = [json.loads(line) for line in (report.folder / "rejected.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(row["row"] for row in rejected) == [3, 10, 11]
    assert "3 of 12 rows could not be read" in (report.folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("rows", "error", "said"),
    [
        ([{"text": " ", "label": "food"}], DataError, "None of the 1 rows"),
        ([{"words": "x", "label": "food"}], DataError, "text"),
        ([{"text": "x"}], DataError, "label"),
        ([{"text": "x", "label": "sport"}], DataError, "sport"),
    ],
)
def test_a_frame_that_can_not_be_measured_is_refused(home, rows, error, said):
    with pytest.raises(error, match=said):
        evaluate(trained(home, FRAMES), home, frame=pl.DataFrame(rows))
    assert home.shelf("reports") == []
    assert home.runs()[0].manifest["status"] == "failed"


def test_without_its_dataset_a_model_is_measured_on_given_rows_only(home):
    model = trained(home, FRAMES)
    home.remove("datasets", model.manifest["parents"][0])
    with pytest.raises(NotFound, match="--data FILE"):
        evaluate(model, home)
    report = evaluate(model, home, frame=pl.DataFrame(FRAMES["test"]))
    page = (report.folder / "report.html").read_text(encoding="utf-8")
    assert "no baselines to compare with" in page
    assert "Unknown" in page


def test_an_error_of_the_model_fails_the_run(home, monkeypatch):
    def broken(model, many):
        raise ModelError("another base")

    monkeypatch.setattr(step, "Predictor", SimpleNamespace(open=broken))
    with pytest.raises(ModelError, match="another base"):
        evaluate(trained(home, FRAMES), home)
    assert home.runs()[0].manifest["error"] == "ModelError: another base"


def test_texts_of_a_page_are_escaped(home):
    frames = {**FRAMES, "test": [{**row, "text": f"<img src=x onerror=alert(1)> {row['text']}"} for row in FRAMES["test"]]}
    page = (evaluate(trained(home, frames), home).folder / "report.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "&lt;img" in page


def test_every_task_has_a_page(home, monkeypatch):
    """Each task's example, answered by its own best baseline."""
    from vertune.core import part

    for name in part.names("tasks"):
        task = part.find("tasks", name)()
        rows = task.example(90)
        frames = {"train": rows[:60], "validation": rows[60:75], "test": rows[75:]}
        tables = {split: pl.DataFrame(values) for split, values in frames.items()}
        fitted = task.fit(tables["train"])
        answers = list(fitted.baselines(*(tables[split].to_dicts() for split in ("train", "validation", "test"))).values())[-1]
        model = _of_task(home, name, fitted, tables)
        predictor = SimpleNamespace(
            untrained=lambda: None, config=build(Config, model.manifest["config"]), task=fitted, answer=lambda records, found=answers: found
        )
        monkeypatch.setattr(step, "Predictor", SimpleNamespace(open=lambda model, many, made=predictor: made))
        measured = read_json(evaluate(model, home).folder / "metrics.json")
        assert measured["metrics"][measured["goal"]]["low"] is not None, name
        assert measured["baselines"], name


def _of_task(home, name, task, tables):
    run = home.begin("datasets", name)
    datasets.write(run.folder, tables)
    dataset = home.finish(run)
    return home.finish(
        home.begin("models", name, config=dump(build(Config, {"name": name, "data": {}, "task": task})), parents=[dataset.id])
    )


def test_an_unknown_split_is_refused(home):
    with pytest.raises((NotFound, ConfigError)):
        evaluate(trained(home, FRAMES), home, "tset")
