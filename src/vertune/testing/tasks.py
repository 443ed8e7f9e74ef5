"""Checks that a task class obeys its contract; independent of any one task.

They need no pretrained model: tokens are whole words, and hidden states are random. Authors of a task run the checks on
it:

    for check in CHECKS:
        check(MyTask)
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, get_type_hints

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vertune.core.config import dump
from vertune.core.errors import ConfigError, DataError
from vertune.core.kinds import Encoder, Task, Tokens
from vertune.core.records import Answer, Feature, Places, Record, View
from vertune.core.source_files import source_files

_WIDTH = 8
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+|[^\w\s]")


class WordEncoder(Encoder):
    """An encoder for tests, whose tokens are whole words or, in Chinese, single characters.

    If the definition of a model input (`View`) allows it, a long text becomes several overlapping windows.
    """

    room: int = 64
    """Largest number of words in a window (a piece of a long text)."""

    def encode(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> list[Feature]:
        """Return the features (model inputs) of all records.

        They are ordered by record, then by view (definition of a model input), then by window (piece of a long text).
        `tokens` is not used.
        """
        return [feature for row, record in enumerate(records) for view in views for feature in self._view(row, record, view)]

    def _view(self, row: int, record: Record, view: View) -> list[Feature]:
        """Return the model inputs that one view (definition of an input) makes of one record: one per window of a long text."""
        fields = [field for place, field in enumerate(view.fields) if place == 0 or record.get(field)]
        pieces = [[found.span() for found in _WORD.finditer(str(record.get(field) or ""))] for field in fields]
        cut = len(pieces) - 1 if view.cut is None else view.cut
        room = self.room if view.windows else len(pieces[cut])
        starts = range(0, max(1, len(pieces[cut])), max(1, room // 2)) if room < len(pieces[cut]) else range(1)
        return [
            _feature(row, view.role, [piece[start : start + room] if place == cut else piece for place, piece in enumerate(pieces)], window)
            for window, start in enumerate(starts)
        ]


def _feature(row: int, role: str, pieces: Sequence[Sequence[tuple[int, int]]], window: int) -> Feature:
    """Build a feature (model input) that consists of a special token and of several texts, each followed by a special token.

    `pieces` contains the start and end of each word of each text. `row` is the index of the record, `window` that of
    the window.
    """
    segments, offsets = [-1], [(0, 0)]
    for place, piece in enumerate(pieces):
        segments += [place] * len(piece) + [-1]
        offsets += [*piece, (0, 0)]
    places = Places(np.array(segments, np.int8), np.array(offsets, np.int32))
    return Feature(row, role, len(segments), None, places, window=window)


def renamed(kind: type[Task]) -> type[Task]:
    """Return a subclass of a task with other column names.

    It must pass the same checks as the task itself, because a task must not rely on fixed column names.
    """
    names = {column.name: f"{column.role} {place}°" for place, column in enumerate(kind.columns)}

    def example(self: Task, rows: int = 64) -> list[dict[str, Any]]:
        return [{names[name]: value for name, value in record.items()} for record in kind.example(self, rows)]

    columns = tuple(replace(column, name=names[column.name]) for column in kind.columns)
    return type("Renamed", (kind,), {"__module__": kind.__module__, "columns": columns, "example": example})


def frame_of(kind: type[Task], rows: int = 60) -> pl.DataFrame:
    """Return the example rows of a task as a frame, with additional columns.

    They are the columns `__file` and `__row`, which a source adds, and the column `kept`, which the task does not
    define.
    """
    frame = pl.DataFrame(kind().example(rows))
    return frame.with_columns(pl.lit("example.csv").alias("__file"), pl.int_range(1, pl.len() + 1).alias("__row"), kept=pl.lit("kept"))


def fitted(kind: type[Task], rows: int = 60) -> tuple[Task, list[dict[str, Any]]]:
    """Return the task after `fit` on its own example rows, and the records of these rows; the rows are cleaned first."""
    frame = kind().clean(frame_of(kind, rows)).frame
    return kind().fit(frame), frame.to_dicts()


def features_of(task: Task, records: Sequence[Record], room: int = 64) -> list[Feature]:
    """Return the features (model inputs) of these records; each contains at most `room` words of a long text."""
    return WordEncoder(room=room).encode(records, task.views(list(records[0])))


def outputs_of(task: Task, features: Sequence[Feature], seed: int = 0) -> list[NDArray[Any]]:
    """Return the outputs of an untrained head (last layer) for random hidden states, one array per feature (model input)."""
    import torch

    torch.manual_seed(seed)
    head = task.head(_WIDTH)
    with torch.no_grad():
        shapes = [(feature.positions, _WIDTH) if task.states == "tokens" else (_WIDTH,) for feature in features]
        return [head(torch.randn(shape)[None])[0].numpy() for shape in shapes]


def answers_of(task: Task, records: Sequence[Record], seed: int = 0) -> list[Answer]:
    """Return the predictions of the task for these records, without a real model.

    They are decoded from the outputs of an untrained head (last layer) for random hidden states.
    """
    features = features_of(task, records)
    return task.decode(records, features, outputs_of(task, features, seed))


def check_schema(kind: type[Task]) -> None:
    """Check the declarations of a task class.

    Names of columns and of metrics must be unique, the answer class must have the field `truncated`, and an unknown
    metric must raise ConfigError.
    """
    names = [column.name for column in kind.columns]
    assert len(set(names)) == len(names), f"columns are named twice: {names}"
    assert {"input", "target"} <= {column.role for column in kind.columns}, "a task needs an input column and a target column"
    assert all(column.about.strip() for column in kind.columns), "each column needs a description (about)"
    assert kind.states in {"pooled", "tokens"}
    assert kind.metrics, "a task needs metrics, with the default metric first"
    assert len(set(kind.metrics)) == len(kind.metrics)
    assert kind.lower_is_better <= set(kind.metrics)
    assert "truncated" in get_type_hints(kind.answer), "the answer class needs the field truncated"
    said = _refusal(lambda: kind(metric="no-such-metric"), ConfigError)
    assert kind.metrics[0] in said, "for an unknown metric, the task must raise ConfigError with the names of its metrics"


def check_round_trip(kind: type[Task]) -> None:
    """Check that a fitted task is unchanged after it was saved and loaded as JSON.

    Also check that the result of `fit` does not depend on the order of the rows, and that a second `fit` changes
    nothing.
    """
    task, _ = fitted(kind)
    written = json.loads(json.dumps(dump(task), allow_nan=False))
    assert kind.model_validate(written) == task
    frame = kind().clean(frame_of(kind)).frame
    assert kind().fit(frame.reverse()) == task, "fit must not depend on the order of rows"
    assert task.fit(frame) == task, "fitting again on the same rows must change nothing"


def check_clean(kind: type[Task]) -> None:
    """Check that `clean` accepts the example rows of the task, with and without targets.

    Other columns must be kept, and cleaning the result again must change nothing.
    """
    frame = frame_of(kind)
    cleaned = kind().clean(frame)
    assert not cleaned.rejected, f"the example has bad rows: {cleaned.rejected[:3]}"
    assert cleaned.frame["__row"].to_list() == frame["__row"].to_list()
    assert {"kept", "__file"} <= set(cleaned.frame.columns)
    json.dumps([note.as_json() for note in cleaned.notes], allow_nan=False)
    assert all(0 < note.count <= note.of and note.where == kind().name for note in cleaned.notes)
    again = kind().clean(cleaned.frame)
    assert again.frame.equals(cleaned.frame), "cleaning cleaned rows must change nothing"
    inputs = frame.drop([column.name for column in kind.columns if column.role == "target"], strict=False)
    alone = kind().clean(inputs)
    assert len(alone.frame) == len(frame), "clean must accept rows without targets, because rows to predict have none"
    assert not alone.rejected


def check_rejects(kind: type[Task]) -> None:
    """Check that a missing required input column raises DataError with its name.

    Also check that a missing value in one row leads to the rejection of this row only.
    """
    frame = frame_of(kind)
    for column in kind.columns:
        if not column.required:
            continue
        if column.role == "input":
            said = _refusal(partial(kind().clean, frame.drop(column.name)), DataError)
            assert column.name in said, f"without the column '{column.name}', clean must raise DataError with its name"
        if column.role == "extra":
            continue
        empty = pl.when(pl.col("__row") == 3).then(None).otherwise(pl.col(column.name)).alias(column.name)
        cleaned = kind().clean(frame.with_columns(empty))
        assert len(cleaned.frame) == len(frame) - 1, f"a row without '{column.name}' must be rejected, and no other row"
        (rejected,) = cleaned.rejected
        assert (rejected["row"], rejected["file"]) == (3, "example.csv")
        assert rejected["reason"]
        json.dumps(rejected, allow_nan=False)


def check_loss(kind: type[Task]) -> None:
    """Check that the loss has one finite value per feature (model input).

    Also check that every weight of the head (last layer) gets a gradient.
    """
    import torch

    from vertune.learning.examples import encode

    task, records = fitted(kind)
    examples = encode(records[:12], task, WordEncoder(), task.views(list(records[0])))
    assert len(examples.targets.values) == len(examples.features)
    head = task.head(_WIDTH)
    length = max(feature.positions for feature in examples.features)
    torch.manual_seed(0)
    outputs = head(torch.randn(len(examples.features), *([length] if task.states == "tokens" else []), _WIDTH))
    losses = task.loss(outputs, examples.target(range(len(examples.features))))
    assert losses.shape == (len(examples.features),)
    assert bool(torch.isfinite(losses).all())
    if any(parameter.requires_grad for parameter in head.parameters()):
        losses.mean().backward()  # type: ignore[no-untyped-call]
        assert all(parameter.grad is not None for parameter in head.parameters())
    if task.linear_head:
        assert isinstance(head, torch.nn.Linear)
        assert head.out_features == task.size
    visits = task.sampling(records)
    assert visits is None or np.asarray(visits).shape == (len(records),)


def check_apply(kind: type[Task]) -> None:
    """Check that `apply`, which computes the head (last layer) with NumPy, has the same outputs as the head in torch."""
    import torch

    task, _ = fitted(kind)
    head = task.head(_WIDTH).eval()
    states = np.random.default_rng(0).standard_normal((3, 4, _WIDTH)).astype(np.float32)
    weights = {name: tensor.numpy() for name, tensor in head.state_dict().items()}
    with torch.no_grad():
        expected = head(torch.from_numpy(states)).numpy()
    assert np.allclose(task.apply(states, weights), expected, atol=1e-6), "apply must have the same outputs as the head in torch"


def check_decode(kind: type[Task]) -> None:
    """Check that `decode` returns one answer per record, with the fields that the answer class declares.

    An answer may depend only on its own record, not on the order of the records. This is checked with whole texts, and
    with texts that are divided into overlapping windows.
    """
    task, records = fitted(kind)
    known = get_type_hints(kind.answer)
    for room in (64, 3):
        features = features_of(task, records, room)
        outputs = outputs_of(task, features)
        before = [output.copy() for output in outputs]
        answers = task.decode(records, features, outputs)
        assert all(np.array_equal(old, new) for old, new in zip(before, outputs, strict=True)), "decode must not change outputs"
        assert len(answers) == len(records)
        for answer in answers:
            assert set(answer) <= set(known), f"an answer has fields that are not in the schema: {set(answer) - set(known)}"
            assert kind.answer.__required_keys__ <= set(answer), f"an answer lacks fields: {kind.answer.__required_keys__ - set(answer)}"
            assert answer["truncated"] is False
            json.dumps(answer, allow_nan=False)
        rows = np.random.default_rng(0).permutation(len(records)).tolist()
        moved = features_of(task, [records[row] for row in rows], room)
        pairs = {(feature.record, feature.role, feature.window): output for feature, output in zip(features, outputs, strict=True)}
        theirs = [pairs[rows[feature.record], feature.role, feature.window] for feature in moved]
        again = task.decode([records[row] for row in rows], moved, theirs)
        assert _plain(again) == _plain([answers[row] for row in rows]), (
            "an answer may depend only on its own record, not on the order of records"
        )


def check_answers(kind: type[Task]) -> None:
    """Check the methods of a task that describe answers: `named`, `confidence` and `agrees`.

    `named` must return known labels, and `confidence` a number from 0 to 1 or None. `agrees` must be symmetric, true
    for an answer and itself, and not true for all pairs of answers.
    """
    task, records = fitted(kind)
    first, second = answers_of(task, records), answers_of(task, records, seed=1)
    for answer in first:
        named, confidence = task.named(answer), task.confidence(answer)
        assert isinstance(named, tuple)
        assert not task.known_labels or set(named) <= set(task.known_labels), f"named returns unknown labels: {named}"
        assert confidence is None or 0 <= confidence <= 1, f"a confidence must be between 0 and 1, not {confidence}"
        assert task.agrees(answer, json.loads(json.dumps(answer))), "agrees must be true for an answer and itself"
    pairs = list(zip(first, second, strict=True))
    assert all(task.agrees(one, other) == task.agrees(other, one) for one, other in pairs), "agrees must be symmetric"
    assert not all(task.agrees(one, other) for one, other in pairs), (
        "agrees must not be true for all answers of two different untrained heads"
    )


def check_decoder(kind: type[Task]) -> None:
    """Check the decoder module of a task, which exported models use instead of the task's method `decode`.

    Its function `decode` must return the same answers, and accept options that were written as JSON. The module may
    import only what an export can include.
    """
    task, records = fitted(kind)
    if task.decoder is None:
        return
    json.dumps(task.decoder_options(), allow_nan=False)
    assert source_files(task.decoder)
    if task.portable:
        features = features_of(task, records)
        outputs = outputs_of(task, features)
        options = json.loads(json.dumps(task.decoder_options()))
        answers = importlib.import_module(task.decoder).decode(records, features, outputs, **options)
        assert _plain(answers) == _plain(task.decode(records, features, outputs))


def check_truncated(kind: type[Task]) -> None:
    """Check that `truncated` is true in the answers to truncated records, and false in all others."""
    task, records = fitted(kind)
    features = features_of(task, records)
    for feature in features:
        feature.truncated = 5 if feature.record == 2 else 0
    answers = task.decode(records, features, outputs_of(task, features))
    assert [row for row, answer in enumerate(answers) if answer["truncated"]] == [2]


def check_tally(kind: type[Task]) -> None:
    """Check that the statistics that `tally` returns are finite, and that the metrics are computed from their sum.

    The metrics must not depend on the order of the records. The statistics of two halves of the records must add up to
    those of all records, unless the task compares records with each other.
    """
    task, records = fitted(kind)
    answers = answers_of(task, records)
    tally = task.tally(records, answers)
    assert tally.dtype == np.float64
    assert tally.ndim == 2
    assert 0 < len(tally) <= len(records)
    assert np.isfinite(tally).all()
    score = task.score(records, answers)
    assert task.goal in score
    assert set(score) <= set(kind.metrics), f"score returns metrics that the task does not declare: {set(score) - set(kind.metrics)}"
    totals = np.stack([tally.sum(0), tally[: len(tally) // 2].sum(0), np.zeros(tally.shape[1])])
    many = task.summarise(totals)
    for name, values in many.items():
        assert values.shape == (3,), f"{name}: summarise must return one value for each row of totals"
        assert np.isfinite(values).all(), f"{name} is not finite, perhaps for totals of no records"
        assert np.isclose(values[0], score[name])
        assert np.isclose(values[1], task.summarise(totals[1])[name])
    rows = np.random.default_rng(0).permutation(len(records))
    moved = task.score([records[row] for row in rows], [answers[row] for row in rows])
    assert all(np.isclose(moved[name], score[name]) for name in score), "a score must not depend on the order of records"
    if not kind.whole_batch:  # such a task compares records with one another, so a metric of a part does not add up to that of the whole
        parts = [task.tally(records[start::2], answers[start::2]).sum(0) for start in (0, 1)]
        assert np.allclose(parts[0] + parts[1], tally.sum(0)), "the tallies of two halves must add up to the tally of all records"


def check_details(kind: type[Task]) -> None:
    """Check that the details that a task returns for the evaluation report can be written as JSON.

    Each listed error must contain the index of its record, the expected and the predicted answer.
    """
    task, records = fitted(kind)
    details = task.details(records, answers_of(task, records))
    json.dumps(details, allow_nan=False, default=lambda value: value.tolist())
    for row in details.get("errors", []):
        assert 0 <= row["row"] < len(records)
        assert {"expected", "answered"} <= set(row)


def check_baselines(kind: type[Task]) -> None:
    """Check that a task has baselines, and that each returns one answer per record with all required fields.

    The best baseline must have a better score than an untrained head (last layer).
    """
    task, records = fitted(kind, 96)
    train, validation, test = records[:64], records[64:80], records[80:]
    found = task.baselines(train, validation, test)
    assert found, "a task needs at least one baseline that a model must beat"
    sign = -1 if task.goal in kind.lower_is_better else 1
    scores = {}
    for name, answers in found.items():
        assert len(answers) == len(test), f"{name}: a baseline must return one answer per record"
        assert all(kind.answer.__required_keys__ <= set(answer) for answer in answers)
        scores[name] = sign * task.score(test, answers)[task.goal]
    chance = sign * task.score(test, answers_of(task, test))[task.goal]
    assert max(scores.values()) > chance, f"no baseline is better than chance on the example: {scores}, chance: {chance}"


def check_calibrate(kind: type[Task]) -> None:
    """Check that a task with calibrated values, such as thresholds, can be saved and loaded as JSON.

    The loaded task must be equal to the saved one, and decode outputs to the same answers.
    """
    task, records = fitted(kind)
    features = features_of(task, records)
    outputs = outputs_of(task, features)
    calibrated = task.calibrate(records, features, outputs)
    parsed = kind.model_validate(json.loads(json.dumps(dump(calibrated), allow_nan=False)))
    assert parsed == calibrated
    assert parsed.decode(records, features, outputs) == calibrated.decode(records, features, outputs)


def _refusal(call: Callable[[], object], error: type[Exception]) -> str:
    """Call a function, and return the message of the error of type `error` that it raises.

    Returns an empty text if it raises no error.
    """
    try:
        call()
    except error as refused:
        return str(refused)
    return ""


def _plain(value: Any) -> Any:
    """Return the value with all floats rounded to 6 decimals, because sums in another order differ in the last digits."""
    return json.loads(json.dumps(value), parse_float=lambda text: round(float(text), 6))


CHECKS: tuple[Callable[[type[Task]], None], ...] = (
    check_schema,
    check_round_trip,
    check_clean,
    check_rejects,
    check_loss,
    check_apply,
    check_decode,
    check_answers,
    check_decoder,
    check_truncated,
    check_tally,
    check_details,
    check_baselines,
    check_calibrate,
)
