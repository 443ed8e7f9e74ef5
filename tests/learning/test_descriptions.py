"""Names of labels must be training rows where they help, and only there; they are never held out, counted or predicted."""

from __future__ import annotations

import polars as pl
import pytest

from tests.learning.conftest import TOPICS, sentences
from vertune.core.errors import UnknownName
from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.learning import session


def few(configured, tmp_path, quiet, rename: dict[str, str], rows: int = 12, events: list | None = None, cut: int = 0, **options):
    """Train on few rows whose labels are called as `rename` says."""
    config, data = configured(rows, method="head", **options)
    data.train = [{**row, "label": rename[row["label"]]} for row in sentences(rows)]
    data.validation = [{**row, "label": rename[row["label"]]} for row in data.validation]
    data.cut, data.validation = bool(cut), data.validation[: cut or None]
    task = config.task.model_copy(update={"labels": []}).fit(pl.DataFrame(data.train + data.validation))
    progress = quiet if events is None else lambda kind, **fields: events.append((kind, fields))
    return session.train(config.model_copy(update={"task": task}), data, session.TrainingFolders(tmp_path), progress)


def test_names_that_say_what_a_label_means_help_and_are_reported(configured, tmp_path, quiet) -> None:
    telling = {label: "_".join(words[:3]) for label, words in TOPICS.items()}
    numbers = {label: str(number) for number, label in enumerate(TOPICS)}
    events: list = []
    named = few(configured, tmp_path / "named", quiet, telling, rows=9, events=events)
    facts = named.chosen["descriptions"]
    assert facts["with"] < facts["without"]
    assert facts["labels"] == len(TOPICS)
    assert ("described", facts) in events
    bare = few(configured, tmp_path / "bare", quiet, numbers, rows=9)
    assert "descriptions" not in bare.chosen
    assert named.chosen["solved_head"]["accuracy"] >= bare.chosen["solved_head"]["accuracy"]


def test_names_that_mislead_are_not_used(configured, tmp_path, quiet) -> None:
    others = list(TOPICS.values())[1:] + list(TOPICS.values())[:1]
    wrong = {label: "_".join(words[:3]) for label, words in zip(TOPICS, others, strict=True)}
    found = few(configured, tmp_path, quiet, wrong, rows=45)
    assert "descriptions" not in found.chosen


@pytest.mark.parametrize("options", [{"task": {"name": "classify", "descriptions": "none"}}, {"rows": 90}])
def test_names_are_not_asked_where_they_are_not_wanted_or_rows_are_many(configured, tmp_path, quiet, options) -> None:
    telling = {label: "_".join(words[:3]) for label, words in TOPICS.items()}
    assert "descriptions" not in few(configured, tmp_path, quiet, telling, **options).chosen


def test_given_descriptions_are_always_used_and_rows_are_counted_without_them(configured, tmp_path, quiet) -> None:
    about = {label: " ".join(words) for label, words in TOPICS.items()}
    found = few(configured, tmp_path, quiet, {label: label for label in TOPICS}, cut=20, task={"name": "classify", "descriptions": about})
    assert found.chosen["descriptions"] == {"labels": len(TOPICS)}
    assert found.chosen["refit"] == 12 + 20


def test_a_description_of_an_unknown_label_is_refused() -> None:
    task = build(Task, {"name": "classify", "descriptions": {"refnud": "money back"}})
    with pytest.raises(UnknownName, match="refund"):
        task.fit(pl.DataFrame({"text": ["a", "b"], "label": ["refund", "late"]}))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["card_arrival", "OrderStatus"], {"card_arrival": "card arrival", "OrderStatus": "Order Status"}),
        (["退款", "催单"], {"退款": "退款", "催单": "催单"}),
        (["0", "1"], {}),
        (["c1", "c2", "refund"], {}),
        (["c1", "refund", "late.delivery"], {"refund": "refund", "late.delivery": "late delivery"}),
        (["reverted_card_payment?", "---"], {}),
    ],
)
def test_names_in_words(labels: list[str], expected: dict[str, str]) -> None:
    task = build(Task, {"name": "classify", "labels": labels})
    records, sure = task.label_records(["text", "label"])
    assert {record["label"]: record["text"] for record in records} == expected
    assert not sure
    several = build(Task, {"name": "multilabel", "labels": labels})
    assert [record["labels"] for record in several.label_records(["text", "labels"])[0]] == [[label] for label in expected]


@pytest.mark.parametrize("columns", [["text", "text_pair", "label"], ["age", "label"]])
def test_pairs_and_other_inputs_have_no_descriptions(columns: list[str]) -> None:
    inputs = {"inputs": {"age": "number"}} if "age" in columns else {}
    task = build(Task, {"name": "classify", "labels": ["refund", "late"], **inputs})
    assert task.label_records(columns)[0] == []
    assert build(Task, {"name": "match", "labels": ["refund", "late"]}).label_records(["text", "text_pair", "label"])[0] == []


def test_descriptions_are_in_the_training_part_of_every_fold(configured, tmp_path, quiet, monkeypatch) -> None:
    seen: list[int] = []

    def spy(goal, training_input, held_out):
        seen.append(sum(record["text"] in about.values() for record in training_input.examples.records))
        assert not any(record["text"] in about.values() for record in held_out.records)
        return fit(goal, training_input, held_out)

    fit, about = session._fit, {label: " ".join(words) for label, words in TOPICS.items()}
    monkeypatch.setattr(session, "_fit", spy)
    config, data = configured(24, method="auto", task={"name": "classify", "descriptions": about})
    session.train(config, data, session.TrainingFolders(tmp_path), quiet)
    assert seen
    assert set(seen) == {len(TOPICS)}
