"""Named entities and other labelled spans: character spans in, character spans out.

Tags (BIO) exist only between this task and its head; records and answers know characters alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.baselines.gazetteer import Gazetteer
from vertune.core.errors import DataError
from vertune.core.kinds import Task
from vertune.core.records import Answer, Cleaned, Column, Feature, Record, Span, Targets, View
from vertune.decoders import bio
from vertune.decoders import tag as decoder
from vertune.metrics import spans as metric
from vertune.tasks import _rows, _spans
from vertune.tasks._inputs import shown

if TYPE_CHECKING:
    import polars as pl
    import torch

_log = logging.getLogger(__name__)
_ERRORS = 50


class TaggedSpan(Span, total=False):
    """A span of an answer."""

    probability: float
    """The product of its units' probabilities."""


class TagAnswer(TypedDict):
    """The answer for one text."""

    spans: list[TaggedSpan]
    truncated: bool


class Tag(Task):
    """Options of the tagging task."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("text", "The text."),
        Column("spans", "Spans as {start, end, label} in code points, end exclusive; [] where there is none.", role="target", type="spans"),
    )
    answer: ClassVar[type[Any]] = TagAnswer
    decoder: ClassVar[str | None] = decoder.__name__
    states: ClassVar[str] = "tokens"
    linear_head: ClassVar[bool] = True
    native_head: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("f1", "precision", "recall")

    labels: tuple[str, ...] = ()
    """What a span can be, learnt from the training rows where it is not given."""
    objective: Literal["cross_entropy", "focal"] = "cross_entropy"
    """What is minimised; focal turns away from what is answered right already, as most tokens outside of spans are."""
    gamma: float = Field(default=2.0, ge=0)
    """How strongly the focal loss does so."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread over all tags."""

    @property
    def _text(self) -> str:
        """Name of the column that holds the text."""
        return self.input_columns[0].name

    @property
    def _target(self) -> str:
        """Name of the column that holds the spans."""
        return self.target_columns[0].name

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Rows with spans inside their text; of overlapping spans the longest stays, and a note counts the others."""
        import polars as pl

        _rows.need(frame, self.columns, self.name)
        text, name = self._text, self._target
        checks = _rows.Checks([text, name], [(_rows.blank(text), f"the {text} is empty")], [_rows.string(text)])
        if name not in frame.columns:
            return _rows.sift(frame, checks, self.name)
        frame = _spans.resolve(_spans.check(_spans.read(frame, name), text, name), name)
        checks.problems += [
            (pl.col("__unread").is_not_null(), pl.col("__unread")),
            (pl.col(name).is_null(), f"the {name} are missing; write [] where there is none"),
            (pl.col("__problem").is_not_null(), pl.col("__problem")),
        ]
        dropped = pl.col("__dropped").list.len()
        total = pl.col(name).list.len() + dropped
        checks.changes.append(_rows.Change("spans overlap a longer one and were dropped", dropped, total, pl.col("__dropped")))
        cleaned = _rows.sift(frame, checks, self.name)
        cleaned.frame = cleaned.frame.drop("__unread", "__problem", "__overlap", "__dropped")
        return cleaned

    def fit(self, frame: pl.DataFrame) -> Self:
        """A copy that knows the labels of the training spans, sorted."""
        found = _rows.target(frame, self._target, self.name).explode().drop_nulls().struct.field("label").unique().sort().to_list()
        if not found:
            raise DataError(
                f"The task '{self.name}' needs training rows with spans, but no row has one. "
                f"Check the column that `fields: {{{self._target}: …}}` names."
            )
        unknown = sorted(set(found) - set(self.labels)) if self.labels else []
        if unknown:
            raise DataError(
                f"The training spans have labels that are not in task.labels: {', '.join(unknown)}. Add them there, or correct the spans."
            )
        return self.model_copy(update={"labels": self.labels or tuple(found)})

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """The text alone; a long one may be cut into windows."""
        return (View("text", (self._text,), windows=True, places=True),)

    @property
    def size(self) -> int:
        """Outside, and for each label its beginning and its inside."""
        return 1 + 2 * len(self.labels)

    @property
    def known_labels(self) -> tuple[str, ...]:
        """What a span can be."""
        return self.labels

    @property
    def output_names(self) -> tuple[str, ...]:
        """The tags in the order of the head's numbers."""
        return ("O", *(f"{place}-{label}" for label in self.labels for place in "BI"))

    def head(self, width: int) -> torch.nn.Module:
        """One linear layer over each token's state."""
        from torch import nn

        return nn.Linear(width, self.size)

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """The tag of each unit at its first token, -100 elsewhere; every unit weighs the same in the loss.

        Spans that do not begin and end where units do are logged with their share.
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
                "%d of %d spans don't start and end at token boundaries, so they can't be found exactly; %d more are truncated.",
                fit["misaligned"], fit["spans"], fit["truncated"],
            )  # fmt: skip
        counts = np.array([max(1, int((value != -100).sum())) for value in values], np.float32)
        return Targets(values, counts / counts.mean() if len(counts) else counts)

    def _numbers(self, records: Sequence[Record]) -> dict[str, int]:
        """The place of each label; DataError when a record has another one."""
        known = {label: number for number, label in enumerate(self.labels)}
        unknown = [span["label"] for record in records for span in record[self._target] if span["label"] not in known]
        if unknown:
            raise DataError(
                f"{len(unknown)} spans have labels that no training row has: {', '.join(sorted(set(unknown))[:10])}. "
                f"Known: {', '.join(self.labels)}. Correct them or add training rows."
            )
        return known

    def alignment(self, records: Sequence[Record], features: Sequence[Feature]) -> dict[str, int]:
        """How many gold spans there are, and how many a perfect tagger would miss: `misaligned`, or in `truncated` text."""
        return _alignment([record[self._target] for record in records], decoder.read(records, features, self._text))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the tags or focal loss, mean over the units of a feature."""
        from vertune.nn.token_losses import labelled

        return labelled(outputs, targets, self.smoothing, self.gamma if self.objective == "focal" else 0.0)

    def decoder_options(self) -> dict[str, Any]:
        """The labels, and the field of the text."""
        return {"labels": list(self.labels), "text": self._text}

    def named(self, answer: Answer) -> tuple[str, ...]:
        """The label of each span."""
        return tuple(span["label"] for span in answer["spans"])

    def confidence(self, answer: Answer) -> float | None:
        """The probability of the least certain span; None where there is no span."""
        sure = [span["probability"] for span in answer["spans"] if "probability" in span]
        return float(min(sure)) if sure else None

    def agrees(self, one: Answer, other: Answer) -> bool:
        """Whether both answers hold the same spans with the same labels."""
        return _spans.places(one["spans"]) == _spans.places(other["spans"])

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[np.float64]:
        """Right, predicted and gold spans of each label, a row a record."""
        self._numbers(records)
        return metric.tally([record[self._target] for record in records], [answer["spans"] for answer in answers], self.labels)

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Entity precision, recall and F1 over all labels, as CoNLL and seqeval count them."""
        return metric.micro(total)

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """Precision, recall, F1 and support of each label; the records with the most wrong and missed spans."""
        counts = self.tally(records, answers)
        right, given, gold = counts.reshape(len(records), -1, 3).sum(axis=1).T
        wrong = given + gold - 2 * right
        worst = np.argsort(-wrong, kind="stable")[: min(_ERRORS, int((wrong > 0).sum()))]
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
        """The entities of the training rows found again, and no entity at all."""
        known = Gazetteer([{"text": record[self._text], "spans": record[self._target]} for record in train])
        return {
            "gazetteer": [{"spans": list(known.spans(record[self._text])), "truncated": False} for record in test],
            "majority": [{"spans": [], "truncated": False} for _ in test],
        }

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """Who lives where, in English and Chinese."""
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
    """How many gold spans there are, how many do not fit the units of their text, and how many lie in truncated text."""
    counts = {"spans": 0, "misaligned": 0, "truncated": 0}
    for expected, reading in zip(spans, readings, strict=True):
        gold, units = bio.longest(expected), reading.merged
        _, exact = bio.tags(gold, units, dict.fromkeys((span["label"] for span in gold), 0))
        counts["spans"] += len(gold)
        for span, fits in zip(gold, exact, strict=True):
            seen = len(units) and units.starts[0] <= span["start"] and span["end"] <= units.ends[-1]
            counts["misaligned" if seen else "truncated"] += not fits
    return counts
