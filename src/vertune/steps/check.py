"""check: runs the behaviour tests of a vertical on a model, and proposes tests from feedback.

The tests of a vertical are those of a given file, or else those that were saved in the home under its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vertune.core import behaviour
from vertune.core.artifact import Artifact, Home, Progress
from vertune.core.behaviour import Case, Suite, Test
from vertune.core.errors import DataError, NotFound, UnknownName
from vertune.core.files import write_text
from vertune.core.names import check_name
from vertune.core.records import Answer, Record
from vertune.core.regular import is_present, regular_file
from vertune.data.validate import check_labels, checked_target, validate_records
from vertune.evaluation.behaviour import Subject, TestResult, run
from vertune.evaluation.rows import row_metric, row_scores, target_labels
from vertune.runtime.predictor import Predictor
from vertune.store.database import Database
from vertune.store.feedback import Feedback, Filter, each

_SHELF = "tests"


@dataclass(frozen=True, slots=True)
class Proposal:
    """Which feedback becomes tests."""

    trust: float = 0.5
    """Least trust of the feedback, from 0 to 1."""
    per_label: int = 5
    """Largest number of cases for each label."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """The tests that feedback suggests, and what can't become one."""

    tests: list[Test]
    not_kept: int
    """Number of right answers to texts that the server did not keep."""
    unreadable: int
    """Number of texts with right answers that the model can't read, such as those of a task that the vertical had before."""


def check(model: Artifact, home: Home, tests: Path | None = None, progress: Progress | None = None) -> list[TestResult]:
    """Run behaviour tests on a model; `tests` is their file, None means those of the vertical in the home.

    Raises NotFound if there are none, ConfigError for tests that can't be run, and DataError for an input that the model can't read.
    """
    suite = suite_of(str(model.manifest["name"]), home, tests)
    if suite is None:
        raise NotFound(
            f"The home {home.folder} has no behaviour tests of '{model.manifest['name']}'. Name their file: "
            f"vertune check {model.manifest['name']} tests.yaml"
        )
    return run_on(Predictor.open(model, many=True), suite, progress)


def run_on(predictor: Predictor, suite: Suite, progress: Progress | None = None) -> list[TestResult]:
    """Run behaviour tests on a loaded model."""
    if progress:
        progress("checking", tests=len(suite.tests))
    return run(suite, _subject(predictor))


def _subject(predictor: Predictor) -> Subject:
    """Return a loaded model as what behaviour tests are run on."""

    def read(inputs: Sequence[Mapping[str, Any]]) -> list[Record]:
        return validate_records(predictor, inputs)

    def answer(records: Sequence[Record]) -> list[Answer]:
        return predictor.answer(records)

    def target(record: Record, fields: Mapping[str, Any]) -> dict[str, Any]:
        return checked_target(predictor.task, record, fields)

    return Subject(predictor.task, read, answer, target)


def suite_of(name: str, home: Home, file: Path | None = None) -> Suite | None:
    """Return the tests in a file or, without a file, those that were saved for a vertical; None if there are none."""
    if file is not None:
        return behaviour.load(file)
    saved = f"{check_name(name)}.yaml"
    if not is_present(home.folder, _SHELF, saved):
        return None
    return behaviour.load(regular_file(home.folder, _SHELF, saved))


def save(name: str, home: Home, file: Path) -> Path:
    """Copy a file of tests into the home, where `evaluate`, `gate` and `retrain` find the tests of this vertical; return the copy.

    Raises ConfigError if the file is not valid.
    """
    behaviour.load(file)
    target = home.folder / _SHELF / f"{check_name(name)}.yaml"
    write_text(target, file.read_text(encoding="utf-8-sig"), mode=0o600)
    return target


def containing(home: Home, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the verticals whose saved tests contain one of these records, so that a person can remove it from them."""
    wanted = {_key(form) for record in records for form in (record, *([next(iter(record.values()))] if len(record) == 1 else []))}
    folder, found = home.folder / _SHELF, []
    for file in sorted(folder.glob("*.yaml")) if folder.is_dir() else ():
        suite = suite_of(file.stem, home)
        inputs = [one for test in suite.tests for case in test.cases for one in (case.input, *case.others)] if suite else []
        if any(_key(one) in wanted for one in inputs):
            found.append(file.stem)
    return found


def propose(model: Artifact, home: Home, database: Database, wanted: Proposal | None = None) -> Proposed:
    """Return tests that feedback suggests: texts that users named the right answer of, and that the model answers rightly now.

    There is a test for each label, with the cases of which the model is least sure, because these are the first that a new model could
    lose. Inputs that the saved tests contain are left out. Raises NotFound if no feedback can become a test.
    """
    wanted, name = wanted or Proposal(), str(model.manifest["name"])
    predictor = Predictor.open(model, many=True)
    known = {_key(case.input) for test in (suite_of(name, home) or Suite.model_construct(tests=[])).tests for case in test.cases}
    every = [one for one in each(database, Filter(verticals=[name], least_trust=wanted.trust)) if one.target is not None]
    found = {_key(one.record): one for one in every if one.record is not None}
    not_kept = sum(one.record is None for one in every)
    kept = [one for key, one in found.items() if key not in known and _text_key(predictor, one) not in known]
    readable = _readable(predictor, kept)
    by_label: dict[str, list[tuple[float, Case]]] = {}
    for one, answer, right in _answered(predictor, readable):
        if right:
            labels = ", ".join(target_labels(predictor.task, one.target or {})) or "the same"
            case = Case(input=_input(predictor, one), expect=_expect(predictor, one), origin=f"feedback {one.id}")
            by_label.setdefault(labels, []).append((predictor.task.confidence(answer) or 0.0, case))
    if not by_label:
        raise NotFound(
            f"No feedback on '{name}' can become a test: of {len(every)} right answers with a trust of at least {wanted.trust:g}, "
            f"{not_kept} are on texts that were not kept, {len(kept) - len(readable)} on texts that the model can't read, and the model "
            "answers none of the other new texts rightly. Collect more feedback, or write tests yourself."
        )
    tests = [
        Test(name=f"stays {label}", cases=[case for _, case in sorted(cases, key=lambda one: one[0])[: wanted.per_label]])
        for label, cases in sorted(by_label.items())
    ]
    return Proposed(tests, not_kept, len(kept) - len(readable))


def _readable(predictor: Predictor, feedback: Sequence[Feedback]) -> list[tuple[Feedback, Record]]:
    """Return feedback with the record of its text and its right answer, where the model can read both."""
    task, found = predictor.task, list[tuple[Feedback, Record]]()
    for one in feedback:
        with suppress(DataError, UnknownName):
            (record,) = validate_records(predictor, [one.record or {}])
            target = checked_target(task, record, one.target or {})
            check_labels(task, target)
            found.append((one, {**record, **target}))
    return found


def _answered(predictor: Predictor, readable: Sequence[tuple[Feedback, Record]]) -> list[tuple[Feedback, Answer, bool]]:
    """Return feedback with what the model answers now, and whether that is right."""
    task, records = predictor.task, [record for _, record in readable]
    if not records:
        return []
    answers = predictor.answer(records)
    scores = row_scores(task, records, answers, row_metric(task, records, answers))
    feedback = [one for one, _ in readable]
    return list(zip(feedback, answers, scores.right.tolist(), strict=True)) if len(scores.values) == len(records) else []


def _input(predictor: Predictor, feedback: Feedback) -> Any:
    """Return the record of feedback as the input of a case: the text alone, if there is nothing else."""
    record = {name: value for name, value in (feedback.record or {}).items() if value is not None}
    return next(iter(record.values())) if list(record) == [predictor.task.input_columns[0].name] else record


def _expect(predictor: Predictor, feedback: Feedback) -> Any:
    """Return the right answer of feedback as a case expects it: its value alone, if there is one."""
    target = feedback.target or {}
    return next(iter(target.values())) if list(target) == [predictor.task.target_columns[0].name] else target


def _key(given: Any) -> str:
    """Return a text by which equal inputs are found."""
    return given if isinstance(given, str) else repr(sorted(given.items()))


def _text_key(predictor: Predictor, feedback: Feedback) -> str:
    """Return the key that the input of a case from this feedback would have."""
    return _key(_input(predictor, feedback))


def as_json(results: Sequence[TestResult], live: Sequence[TestResult] | None = None) -> list[dict[str, Any]]:
    """Return results as a report stores them; `live` are those of the live model in the same tests, for a comparison."""
    others = {one.name: one.held for one in live or ()}
    return [{**asdict(one), "live": others.get(one.name)} for one in results]
