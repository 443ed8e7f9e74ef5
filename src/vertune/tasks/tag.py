"""Finds named entities and other labelled spans in a text.

Records and predictions contain spans as positions of characters in the text. BIO tags (begin, inside, outside of a
span) are used only as training targets and model outputs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.baselines.gazetteer import Gazetteer
from vertune.core.columns import named
from vertune.core.errors import DataError
from vertune.core.kinds import Task
from vertune.core.profile import Guess, TableProfile
from vertune.core.records import Activation, Answer, Cleaned, Column, Feature, Record, Span, Targets, View
from vertune.decoders import bio
from vertune.decoders import tag as decoder
from vertune.metrics import spans as metric
from vertune.tasks import _guess, _offsets, _rows, _spans
from vertune.tasks._inputs import shown

if TYPE_CHECKING:
    import polars as pl
    import torch

_log = logging.getLogger(__name__)
_MARKED = 1.5
"""The score of a guess for a table with labelled spans, which no other task reads."""


class TaggedSpan(Span, total=False):
    """A span that the model predicted: a labelled part of a text, with its probability."""

    probability: float
    """The product of the probabilities of the tags of its words."""


class TagAnswer(TypedDict):
    """The prediction for one text: its labelled spans, and whether the text was truncated."""

    spans: list[TaggedSpan]
    truncated: bool


class Tag(Task):
    """Options of the tagging task, which predicts labelled spans of each text."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("text", "The text."),
        Column("spans", "Spans as {start, end, label} in code points, end exclusive; [] if there is none.", role="target", type="spans"),
    )
    answer: ClassVar[type[Any]] = TagAnswer
    decoder: ClassVar[str | None] = decoder.__name__
    activation: ClassVar[Activation | None] = "tags"
    states: ClassVar[str] = "tokens"
    linear_head: ClassVar[bool] = True
    native_head: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("f1", "precision", "recall")

    labels: tuple[str, ...] = ()
    """The labels that spans can have; if empty, they are taken from the training rows."""
    objective: Literal["cross_entropy", "focal"] = "cross_entropy"
    """The loss. `focal` gives less weight to words that are already predicted well, such as most words outside of spans."""
    gamma: float = Field(default=2.0, ge=0)
    """Exponent of the focal loss: higher values give less weight to words that are already predicted well."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing: the fraction of the target probability that is spread evenly over all BIO tags."""

    overlaps: Literal["longest", "first", "refuse"] = "longest"
    """Which of several overlapping spans of a row is kept: the longest, or the first in the text. `refuse` rejects the row. A text has one
    tag per word, so a model can't learn overlapping spans."""
    offsets: Literal["auto", "code_points", "utf16", "utf8"] = "auto"
    """The unit in which the data count `start` and `end`: characters (`code_points`), UTF-16 units as in JavaScript and Java, or UTF-8
    bytes. auto means code points, and refuses training rows that clearly use another unit. Answers always use code points."""

    @property
    def _text(self) -> str:
        """The name of the text column."""
        return self.input_columns[0].name

    @property
    def _target(self) -> str:
        """The name of the column with the expected spans."""
        return self.target_columns[0].name

    def resolve(self, frame: pl.DataFrame) -> Self:
        """Check in which unit the spans of the training rows are counted, and return a copy with this unit in `offsets`.

        Raises DataError if `offsets` is `auto`, but the spans fit their texts only if they are counted in another unit than
        code points.
        """
        if self.offsets != "auto" or not {self._text, self._target} <= set(frame.columns):
            return self
        rows = _spans.read(frame, self._target).filter(named(self._target).list.len() > 0).select(self._text, self._target)
        complete = ((str(text), spans) for text, spans in rows.iter_rows() if text is not None)
        found = _offsets.recognise([(text, spans) for text, spans in complete if all(None not in span.values() for span in spans)])
        if found is not None:
            raise DataError(
                f"The positions of the spans are counted in {found.unit}, but code points are expected: in code points, a span marks "
                f"'{found.as_code_points}', and in {found.unit} it marks '{found.marked}' ({found.spans} spans differ). Set the unit: "
                f"`task: {{name: {self.name}, offsets: {found.unit}}}`; if the spans are right as they are, set `offsets: code_points`."
            )
        return self.model_copy(update={"offsets": "code_points"})

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Check the rows: all spans must be inside their text. Return the valid rows, and the rejected rows with reasons.

        If spans overlap, the option `overlaps` decides which is kept; a note in the result counts the dropped spans, and names
        their labels.
        """
        import polars as pl

        _rows.need(frame, self.columns, self.name)
        text, name = self._text, self._target
        checks = _rows.Checks([text, name], [(_rows.blank(text), f"the {text} is empty")], [_rows.string(text)])
        if name not in frame.columns:
            return _rows.sift(frame, checks, self.name)
        frame = _spans.located(_spans.read(frame, name), text, name, self.offsets if self.offsets != "auto" else "code_points")
        frame = _spans.resolve(_spans.check(frame, text, name), name, _spans.first if self.overlaps == "first" else bio.longest)
        checks.problems += [
            (pl.col("__unread").is_not_null(), pl.col("__unread")),
            (pl.col(name).is_null(), f"the {name} are missing; write [] if the text has none"),
            (pl.col("__problem").is_not_null(), pl.col("__problem")),
        ]
        dropped = pl.col("__dropped").list.len()
        if self.overlaps == "refuse":
            checks.problems.append((dropped > 0, "two spans overlap"))
        other = "one that starts before it" if self.overlaps == "first" else "a longer one"
        what = f"spans overlap {other} and were dropped: {_spans.by_label(frame, name)}"
        checks.changes.append(_rows.Change(what, dropped, pl.col(name).list.len() + dropped, pl.col("__dropped")))
        cleaned = _rows.sift(frame, checks, self.name)
        cleaned.frame = cleaned.frame.drop("__unread", "__problem", "__overlap", "__dropped")
        return cleaned

    def guess(self, table: TableProfile) -> Guess | None:
        """Return which column contains labelled spans, and which column contains the text that they belong to."""
        spans = table.targets("spans")
        read = _guess.inputs(table, spans[0], [self._text]) if spans else None
        if read is None or spans[0].kind != "spans":
            return None
        reasons = {**read.reasons, self._target: spans[0].description, "task": f"'{_guess.short(spans[0].name)}' contains labelled spans"}
        return Guess(_MARKED, {**read.fields, self._target: [spans[0].name]}, reasons)

    def fit(self, frame: pl.DataFrame) -> Self:
        """Return a copy in which `labels`, if empty, is set to the sorted labels of the spans in the training rows.

        Raises DataError if the training rows contain no spans. Also raises DataError if the config lists `labels`, but
        a training span has another label.
        """
        used = _rows.target(frame, self._target, self.name).explode().drop_nulls().struct.field("label").unique().sort().to_list()
        if not used:
            raise DataError(
                f"The task '{self.name}' needs training rows with spans, but no row has one. "
                f"Check the column that is named in the config: `data: {{fields: {{{self._target}: COLUMN}}}}`."
            )
        unknown = sorted(set(used) - set(self.labels)) if self.labels else []
        if unknown:
            raise DataError(
                f"Spans in the training rows have labels that the option `labels` does not list: {', '.join(unknown)}. "
                "Add these labels to the option, or correct the spans."
            )
        return self.model_copy(update={"labels": self.labels or tuple(used)})

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """Return the view (the definition of the model input) of a record: its text.

        A long text may be divided into windows (overlapping pieces).
        """
        return (View("text", (self._text,), windows=True, places=True),)

    @property
    def size(self) -> int:
        """The number of outputs of the model per token: one per BIO tag.

        There is one tag for "outside of spans", and two per label: for the beginning and for the inside of a span.
        """
        return 1 + 2 * len(self.labels)

    @property
    def known_labels(self) -> tuple[str, ...]:
        """The labels that spans can have."""
        return self.labels

    @property
    def output_names(self) -> tuple[str, ...]:
        """The BIO tags in the order of the model's outputs, such as `O`, `B-person`, `I-person`."""
        return ("O", *(f"{prefix}-{label}" for label in self.labels for prefix in "BI"))

    def head(self, width: int) -> torch.nn.Module:
        """Return a new head (last layer): a linear layer that is applied to each token's output vector of length `width`.

        It has one output per BIO tag.
        """
        from torch import nn

        return nn.Linear(width, self.size)

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """Return a training target per token: the index of the word's BIO tag at its first token, and -100 at other tokens.

        The loss ignores -100. Each model input gets a weight in the loss that makes all words count equally. Logs a
        warning if spans do not start and end at the borders of words, or if spans are in the truncated part of a text.
        Raises DataError if a span has a label that is not in `labels`.
        """
        known = self._numbers(records)
        readings = decoder.read(records, features, self._text)
        values = [np.full(feature.positions, -100, np.int64) for feature in features]
        for record, reading in zip(records, readings, strict=True):
            tagged, _ = bio.tags(bio.longest(record[self._target]), reading.merged, known)
            for number, cut in zip(reading.numbers, reading.cuts, strict=True):
                values[number][cut.tokens] = tagged[np.searchsorted(reading.merged.starts, cut.starts)]
        fit = _alignment([record[self._target] for record in records], readings)
        if fit["misaligned"] or fit["truncated"]:
            _log.warning(
                "%d of %d spans start or end inside a word or token, so the model can't find them exactly. "
                "%d more spans are in the part of a text that is cut off because the text is too long.",
                fit["misaligned"], fit["spans"], fit["truncated"],
            )  # fmt: skip
        counts = np.array([max(1, int((value != -100).sum())) for value in values], np.float32)
        return Targets(values, counts / counts.mean() if len(counts) else counts)

    def _numbers(self, records: Sequence[Record]) -> dict[str, int]:
        """Return a mapping from each label to its index in `labels`.

        Raises DataError if a span in the records has a label that is not in `labels`.
        """
        known = {label: number for number, label in enumerate(self.labels)}
        unknown = [span["label"] for record in records for span in record[self._target] if span["label"] not in known]
        if unknown:
            raise DataError(
                f"{len(unknown)} spans have labels that the task does not have: {', '.join(sorted(set(unknown))[:10])}. "
                f"The labels of the task are: {', '.join(self.labels)}. "
                "Correct these spans, or train again with rows that have the new labels."
            )
        return known

    def alignment(self, records: Sequence[Record], features: Sequence[Feature]) -> dict[str, int]:
        """Count the expected spans in the records (`spans`), and those that no model can find exactly.

        The latter are `misaligned` spans, which start or end inside a word or token, and `truncated` spans, which are
        in the part of a long text that was cut off.
        """
        return _alignment([record[self._target] for record in records], decoder.read(records, features, self._text))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each model input, shape (inputs,): the mean loss of the BIO tags of its words.

        The loss of a tag is the focal loss if the option `objective` is `focal`, otherwise the cross-entropy.
        """
        from vertune.nn.token_losses import labelled

        return labelled(outputs, targets, self.smoothing, self.gamma if self.objective == "focal" else 0.0)

    def decoder_options(self) -> dict[str, Any]:
        """Return the keyword arguments of `decode` in `vertune.decoders.tag`, which makes answers from model outputs.

        They are the labels and the name of the text field.
        """
        return {"labels": list(self.labels), "text": self._text}

    def named(self, answer: Answer) -> tuple[str, ...]:
        """Return the labels of the predicted spans, one per span."""
        return tuple(span["label"] for span in answer["spans"])

    def confidence(self, answer: Answer) -> float | None:
        """Return the probability of the least certain span in an answer; None if the answer contains no span."""
        sure = [span["probability"] for span in answer["spans"] if "probability" in span]
        return float(min(sure)) if sure else None

    def as_target(self, answer: Answer, record: Record) -> dict[str, Any]:
        """Return the spans without their probabilities."""
        return {self._target: [{name: span[name] for name in ("start", "end", "label")} for span in answer["spans"]]}

    def agrees(self, one: Answer, other: Answer) -> bool:
        """Return whether two answers have the same spans with the same labels."""
        return _spans.places(one["spans"]) == _spans.places(other["spans"])

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[np.float64]:
        """Return the numbers of correct, predicted and expected spans of each label in each record, shape (records, 3 * labels).

        `summarise` computes the metrics from the sum of the rows.
        """
        self._numbers(records)
        return metric.tally([record[self._target] for record in records], [answer["spans"] for answer in answers], self.labels)

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return precision, recall and F1 over the spans of all labels, as CoNLL and seqeval compute them.

        `total` is the sum of the rows that `tally` returns.
        """
        return metric.micro(total)

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """Return what the evaluation report shows besides metrics.

        This is: precision, recall, F1 and the number of expected spans per label, and the records with wrong or
        missed spans. The records with the most such spans come first.
        """
        counts = self.tally(records, answers)
        right, predicted, gold = counts.reshape(len(records), -1, 3).sum(axis=1).T
        wrong = predicted + gold - 2 * right
        worst = np.argsort(-wrong, kind="stable")[: int((wrong > 0).sum())]
        return {
            "per_class": metric.per_class(counts.sum(axis=0), self.labels),
            "errors": [
                {
                    "row": int(row),
                    **shown(records[row], self.input_columns),
                    "expected": _spans.in_words(records[row][self._text], records[row][self._target]),
                    "answered": _spans.in_words(records[row][self._text], answers[row]["spans"]),
                }
                for row in worst
            ],
        }

    def baselines(self, train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Answer]]:
        """Return the predictions of two baselines for the test records.

        `gazetteer` looks up the spans of the training texts: it marks the same words in the test texts. `majority`
        predicts no spans.
        """
        known = Gazetteer([{"text": record[self._text], "spans": record[self._target]} for record in train])
        return {
            "gazetteer": [{"spans": list(known.spans(record[self._text])), "truncated": False} for record in test],
            "majority": [{"spans": [], "truncated": False} for _ in test],
        }

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """Return example rows: English and Chinese sentences that name a person and the place where the person lives.

        The names of the person and of the place are the labelled spans.
        """
        people = ("Anna Smith", "Omar", "Li Na", "Jean-Luc", "王芳", "张伟", "李娜", "赵敏")
        places = ("Paris", "New York", "U.S.", "Oslo", "北京", "上海", "广州", "成都")
        records = []
        for row in range(rows):
            chinese = row % 4 == 3
            half = 4 if chinese else 0
            person, place = people[half + row // 4 % 4], places[half + row // 2 % 4]
            joint = "住在" if chinese else " lives in "
            text = f"{person}{joint}{place}" + ("。" if chinese else " now.")
            start = len(person) + len(joint)
            spans = [
                {"start": 0, "end": len(person), "label": "person"},
                {"start": start, "end": start + len(place), "label": "place"},
            ]
            records.append({"text": text, "spans": spans})
        return records


def _alignment(spans: Sequence[Sequence[Mapping[str, Any]]], readings: Sequence[decoder.Reading]) -> dict[str, int]:
    """Count the expected spans, those that start or end inside a word or token, and those in text that was cut off.

    The result has the keys `spans`, `misaligned` and `truncated`. `readings` contains, for each record, the words or
    tokens that get one tag each.
    """
    counts = {"spans": 0, "misaligned": 0, "truncated": 0}
    for expected, reading in zip(spans, readings, strict=True):
        gold, units = bio.longest(expected), reading.merged
        _, exact = bio.tags(gold, units, dict.fromkeys((span["label"] for span in gold), 0))
        counts["spans"] += len(gold)
        for span, fits in zip(gold, exact, strict=True):
            seen = len(units) and units.starts[0] <= span["start"] and span["end"] <= units.ends[-1]
            counts["misaligned" if seen else "truncated"] += not fits
    return counts
