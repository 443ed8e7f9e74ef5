"""Runs behaviour tests on a model: which cases hold, and what was answered where they do not; for any task.

How records are read and answered is handed over, so that a loaded model, a server or a table of answers can be tested alike.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vertune.core.behaviour import Case, Input, Suite, Test
from vertune.core.errors import ConfigError
from vertune.core.kinds import Task
from vertune.core.records import Answer, Record
from vertune.evaluation import rows
from vertune.evaluation.text_edits import variants
from vertune.reports.scales import short

LISTED = 20
"""Largest number of cases of a test that are listed because they do not hold."""
_ROUNDING = 1e-9
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Subject:
    """What is tested: a task, and functions of a model."""

    task: Task
    read: Callable[[Sequence[Mapping[str, Any]]], list[Record]]
    """Returns one record per input, as the task's fields; raises DataError for one that can't be read."""
    answer: Callable[[Sequence[Record]], list[Answer]]
    target: Callable[[Record, Mapping[str, Any]], dict[str, Any]]
    """Returns the target fields of a right answer to a record, as the task's rules write them; raises DataError if it can't be one."""


@dataclass(frozen=True, slots=True)
class TestResult:
    """What a model did in one test."""

    __test__ = False  # it is no test of pytest

    name: str
    type: str
    cases: int
    """Number of cases that could be tried: those of which an edit, if there are edits, changed the text."""
    held: int
    """Number of cases that held."""
    passed: bool
    failures: list[str] = field(default_factory=list)
    """What was answered in cases that did not hold, one sentence each; at most `LISTED`."""
    about: str | None = None


def run(suite: Suite, subject: Subject) -> list[TestResult]:
    """Run all tests; all inputs are answered together.

    Raises DataError for an input that the model can't read, and ConfigError for a test whose edits change none of its texts.
    """
    plans = [_plan(test, case, subject.task) for test in suite.tests for case in test.cases]
    inputs = [fields for plan in plans for fields in plan.inputs]
    records = subject.read(inputs)
    answers = subject.answer(records)
    results, place, number = [], 0, 0
    for test in suite.tests:
        outcomes: list[str | None] = []
        for _ in test.cases:
            plan, end = plans[number], place + len(plans[number].inputs)
            if plan.tried:
                outcomes.append(_outcome(plan, subject, records[place:end], answers[place:end]))
            place, number = end, number + 1
        results.append(_result(test, outcomes))
    return results


def _result(test: Test, outcomes: Sequence[str | None]) -> TestResult:
    """Return the result of a test; `outcomes` has None for each case that held, else the reason why it did not."""
    if not outcomes:
        raise ConfigError(
            f"The test '{test.name}' tries nothing: its edits ({', '.join(test.edits)}) change none of its texts. Add texts that they "
            "change, or choose other edits."
        )
    failures = [outcome for outcome in outcomes if outcome is not None]
    held = len(outcomes) - len(failures)
    passed = held >= test.at_least * len(outcomes) - _ROUNDING
    return TestResult(test.name, test.type, len(outcomes), held, passed=passed, failures=failures[:LISTED], about=test.about)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A case with all inputs that are answered for it, the original one first."""

    test: Test
    case: Case
    inputs: list[dict[str, Any]]

    @property
    def tried(self) -> bool:
        """Whether there is something to compare."""
        return self.test.type == "minimum" or len(self.inputs) > 1


def _plan(test: Test, case: Case, task: Task) -> _Plan:
    """Return the inputs of a case: the original one, those that the case names, and those that edits make of its texts."""
    original = _fields(case.input, task)
    others = [_fields(other, task) for other in case.others]
    texts = [column.name for column in task.input_columns if column.type == "text" and isinstance(original.get(column.name), str)]
    for edit in test.edits:
        others += [{**original, name: text} for name in texts for text in variants(original[name], edit)]
    return _Plan(test, case, [original, *others])


def _fields(given: Input, task: Task) -> dict[str, Any]:
    """Return an input as the fields of a record; a text alone is the first input field of the task."""
    return {task.input_columns[0].name: given} if isinstance(given, str) else dict(given)


def _outcome(plan: _Plan, subject: Subject, records: Sequence[Record], answers: Sequence[Answer]) -> str | None:
    """Return None if a case holds, else a sentence on what was answered instead."""
    return _JUDGES[plan.test.type](plan, subject, records, answers)


def _minimum(plan: _Plan, subject: Subject, records: Sequence[Record], answers: Sequence[Answer]) -> str | None:
    """Judge a case with an expected answer."""
    task, case, record, answer = subject.task, plan.case, records[0], answers[0]
    got = f"{_quoted(task, record)} was answered {rows.answer_text(task, answer, record)}"
    if case.never is not None and case.never in task.named(answer):
        return f"{got}, which it must never be."
    named = [*([] if case.never is None else [case.never]), *_expected_labels(task, case.expect)]
    if unknown := next((label for label in named if task.known_labels and label not in task.known_labels), None):
        verb = "it must never be" if unknown == case.never else "expected"
        return f"{got}; {verb} {unknown}, a label that the model does not know{_similar(task, unknown)}."
    if case.expect is None:
        return None
    target = subject.target(record, _target_fields(task, record, case.expect))
    if _is_right(task, {**record, **target}, answer, plan.test.within):
        return None
    return f"{got}; expected {_expected_text(case.expect)}."


def _invariance(plan: _Plan, subject: Subject, records: Sequence[Record], answers: Sequence[Answer]) -> str | None:
    """Judge a case whose answers must be equal."""
    task = subject.task
    for record, answer in zip(records[1:], answers[1:], strict=True):
        if not _are_equal(task, (records[0], answers[0]), (record, answer), plan.test.within):
            first, other = (rows.answer_text(task, one, of) for one, of in ((answers[0], records[0]), (answer, record)))
            return f"{_quoted(task, records[0])} was answered {first}, but {_quoted(task, record)} {other}."
    return None


def _direction(plan: _Plan, subject: Subject, records: Sequence[Record], answers: Sequence[Answer]) -> str | None:
    """Judge a case in which a probability or a number must move up or down."""
    task, case = subject.task, plan.case
    if case.label is not None and task.known_labels and case.label not in task.known_labels:
        return f"The level of {case.label} can't move, because the model does not know this label{_similar(task, case.label)}."
    before, after = (_level(task, answer, record, case.label) for answer, record in zip(answers, records, strict=True))
    moved = after - before if case.change == "up" else before - after
    if moved > plan.test.within:
        return None
    what = f"of {case.label} " if case.label else ""
    return (
        f"From {_quoted(task, records[0])} to {_quoted(task, records[1])}, the level {what}moved from {before:.3g} to {after:.3g}; "
        f"expected it to go {case.change}."
    )


def _similar(task: Task, label: str) -> str:
    """Return a clause that names the most similar label that the model knows; empty if there is none."""
    near = difflib.get_close_matches(label, task.known_labels, n=1)
    return f" (similar: {near[0]})" if near else ""


_JUDGES: dict[str, Callable[[_Plan, Subject, Sequence[Record], Sequence[Answer]], str | None]] = {
    "minimum": _minimum,
    "invariance": _invariance,
    "direction": _direction,
}


def _level(task: Task, answer: Answer, record: Record, label: str | None) -> float:
    """Return the probability of a label, or how often it occurs if the answer has no probabilities; without a label, the number."""
    if label is not None:
        probabilities = answer.get("probabilities")
        if isinstance(probabilities, Mapping) and label in probabilities:
            return float(probabilities[label])
        return float(task.named(answer).count(label))
    numbers = [value for value in task.as_target(answer, record).values() if isinstance(value, (int, float))]
    return float(numbers[0]) if numbers else float(task.confidence(answer) or 0.0)


def _are_equal(task: Task, one: tuple[Record, Answer], other: tuple[Record, Answer], within: float) -> bool:
    """Return whether two answers are equal; answers with places are compared by their labels, because edits move places."""
    if task.answers_with_places and task.names_labels:
        return sorted(task.named(one[1])) == sorted(task.named(other[1]))
    if within and not task.names_labels:
        return abs(_level(task, one[1], one[0], None) - _level(task, other[1], other[0], None)) <= within + _ROUNDING
    return task.agrees(one[1], other[1])


def _is_right(task: Task, record: Record, answer: Answer, within: float) -> bool:
    """Return whether an answer is the right one of a labelled record; a number may differ by `within`."""
    target = task.target_columns[0]
    if target.type == "number":
        return abs(_level(task, answer, record, None) - float(record[target.name])) <= within + _ROUNDING
    right = rows.row_scores(task, [record], [answer], task.metrics[0]).right
    return bool(len(right)) and bool(right.all())


def _target_fields(task: Task, record: Record, expect: Any) -> dict[str, Any]:
    """Return an expected answer as target fields; a value that is no mapping is that of the first one.

    Spans may be given by their words instead of their offsets, as `{text: Oslo, label: city}`; the first place with these words is meant.
    """
    fields = expect if isinstance(expect, Mapping) else {task.target_columns[0].name: expect}
    if not task.answers_with_places:
        return dict(fields)
    text = str(record.get(task.marked_input) or "")
    return {name: [_span(span, text) for span in value] if isinstance(value, list) else value for name, value in fields.items()}


def _span(span: Any, text: str) -> Any:
    """Return a span with offsets, if it names words that the text contains."""
    if not isinstance(span, Mapping) or "start" in span or str(span.get("text", "")) not in text:
        return span
    words = str(span["text"])
    start = text.index(words)
    rest = {key: value for key, value in span.items() if key != "text"}
    return {**rest, "start": start, "end": start + len(words)} if "label" in span else {"start": start, "text": words}


def _expected_labels(task: Task, expect: Any) -> list[str]:
    """Return the labels in an expected answer, if the task has labels."""
    if not task.known_labels:
        return []
    values = list(expect.values()) if isinstance(expect, Mapping) else [expect]
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return [str(item["label"]) if isinstance(item, Mapping) and "label" in item else str(item) for item in flat if item is not None]


def _expected_text(expect: Any) -> str:
    """Return an expected answer in words."""
    values = expect if isinstance(expect, list) else [expect]
    words = [
        f"{one['text']} ({one['label']})" if isinstance(one, Mapping) and {"text", "label"} <= one.keys() else str(one) for one in values
    ]
    return ", ".join(words) or "nothing"


def _quoted(task: Task, record: Record) -> str:
    """Return the text of a record in quotation marks, shortened."""
    return f"“{short(rows.text_of(task, record), _SHOWN)}”"
