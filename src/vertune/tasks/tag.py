"""Named entities and other labelled spans: character spans in, character spans out.

Tags (BIO) exist only between this task and its head; records and answers know characters alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.baselines.gazetteer import Gazetteer
from vertune.core.errors import DataError
from vertune.core.kinds import Run, Task
from vertune.core.records import Answer, Cleaned, Column, Feature, Note, Record, Span, Targets, View
from vertune.metrics import spans as metric
from vertune.tasks import _bio, _rows, _spans
from vertune.tasks._texts import shown
from vertune.tasks._windows import truncated

if TYPE_CHECKING:
    import polars as pl
    import torch

_log = logging.getLogger(__name__)
_ERRORS = 50
_TOGETHER = 256
"""Records whose tags are sought at once: bounds the memory of the padded scores."""


class TaggedSpan(Span, total=False):
    """A span of an answer."""

    probability: float
    """The product of its units' probabilities."""


class TagAnswer(TypedDict):
    """What the model says of one text."""

    spans: list[TaggedSpan]
    truncated: bool


class Tag(Task):
    """Options of the tagging task."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("text", "The text."),
        Column("spans", "Spans as {start, end, label} in code points, end exclusive; [] where there is none.", role="target", type="spans"),
    )
    answer: ClassVar[type[Any]] = TagAnswer
    portable: ClassVar[bool] = True
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

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Rows with spans inside their text; of overlapping spans the longest stays, and the notes count the others."""
        import polars as pl

        _rows.need(frame, self.columns, self.name)
        problems: list[_rows.Problem] = [(_rows.blank("text"), "the text is empty")]
        results = [_rows.string("text")]
        if "spans" not in frame.columns:
            return _rows.sift(frame, ["text"], problems, results)
        frame = _spans.check(_spans.read(frame, "spans"), "text", "spans")
        frame, overlapping = _spans.resolve(frame, "spans")
        problems += [
            (pl.col("__unread").is_not_null(), pl.col("__unread")),
            (pl.col("spans").is_null(), "the spans are missing; write [] where there is none"),
            (pl.col("__problem").is_not_null(), pl.col("__problem")),
        ]
        cleaned = _rows.sift(frame, ["text", "spans"], problems, results)
        cleaned.frame = cleaned.frame.drop("__unread", "__problem", "__overlap")
        if overlapping:
            spans = overlapping + int(cleaned.frame["spans"].list.len().sum())
            cleaned.notes.append(Note(self.name, "spans overlap a longer one and were dropped", overlapping, spans))
        return cleaned

    def fit(self, frame: pl.DataFrame) -> Self:
        """A copy that knows the labels of the training spans, sorted."""
        found = _rows.target(frame, "spans", self.name).explode().drop_nulls().struct.field("label").unique().sort().to_list()
        if not found:
            raise DataError(
                "The task 'tag' needs training rows with spans, but no row has one. Check the column that `fields: {spans: …}` names."
            )
        unknown = sorted(set(found) - set(self.labels)) if self.labels else []
        if unknown:
            raise DataError(f"The training spans have labels that task.labels does not name: {', '.join(unknown)}.")
        return self.model_copy(update={"labels": self.labels or tuple(found)})

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """The text alone; a long one may be cut into windows."""
        return (View("text", ("text",), windows=True, places=True),)

    @property
    def size(self) -> int:
        """Outside, and for each label its beginning and its inside."""
        return 1 + 2 * len(self.labels)

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
        read = _read(records, features)
        values = [np.full(feature.positions, -100, np.int64) for feature in features]
        for record, reading in zip(records, read, strict=True):
            tagged, _ = _bio.tags(_bio.longest(record["spans"]), reading.whole, known)
            for number, cut in zip(reading.numbers, reading.cuts, strict=True):
                values[number][cut.tokens] = tagged[np.searchsorted(reading.whole.starts, cut.starts)]
        fit = _alignment(records, read)
        if fit["misaligned"] or fit["truncated"]:
            _log.warning(
                "%d of %d spans do not begin and end where units of the text do and can't be found exactly; %d more are truncated.",
                fit["misaligned"], fit["spans"], fit["truncated"],
            )  # fmt: skip
        counts = np.array([max(1, int((value != -100).sum())) for value in values], np.float32)
        return Targets(values, counts / counts.mean() if len(counts) else counts)

    def _numbers(self, records: Sequence[Record]) -> dict[str, int]:
        """The place of each label; DataError when a record has another one."""
        known = {label: number for number, label in enumerate(self.labels)}
        unknown = [span["label"] for record in records for span in record["spans"] if span["label"] not in known]
        if unknown:
            raise DataError(
                f"{len(unknown)} spans have labels that no training row has: {', '.join(sorted(set(unknown))[:10])}. "
                f"Known: {', '.join(self.labels)}. Correct them or add training rows."
            )
        return known

    def alignment(self, records: Sequence[Record], features: Sequence[Feature]) -> dict[str, int]:
        """How many gold spans there are, and how many a perfect tagger would miss: `misaligned`, or in `truncated` text."""
        return _alignment(records, _read(records, features))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of the tags or focal loss, mean over the units of a feature."""
        from vertune.nn.token_losses import labelled

        return labelled(outputs, targets, self.smoothing, self.gamma if self.objective == "focal" else 0.0)

    def decode(
        self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]], run: Run | None = None
    ) -> list[Answer]:
        """Spans from the best valid tags; a unit in several windows is read in the one where it has the most context."""
        read = _read(records, features)
        answers: list[Answer] = []
        for start in range(0, len(records), _TOGETHER):
            part = read[start : start + _TOGETHER]
            scores = [_log_softmax(self._logits(reading, outputs)) for reading in part]
            for reading, score, path in zip(part, scores, _bio.viterbi(scores), strict=True):
                sure = np.take_along_axis(score, path[:, None], axis=1)[:, 0]
                found = _bio.spans(path, reading.whole, self.labels)
                answers.append({"spans": [{**span, "probability": float(np.exp(sure[covered].sum()))} for span, covered in found]})
        for answer, lost in zip(answers, truncated(len(records), features), strict=True):
            answer["truncated"] = lost
        return answers

    def _logits(self, reading: _Reading, outputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The outputs at the first token of each unit, shape (units, tags)."""
        if not len(reading.whole):
            return np.zeros((0, self.size))
        return np.stack([outputs[owner][token] for owner, token in zip(reading.owners, reading.whole.tokens, strict=True)])

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[np.float64]:
        """Right, predicted and gold spans of each label, a row a record."""
        self._numbers(records)
        return metric.tally([record["spans"] for record in records], [answer["spans"] for answer in answers], self.labels)

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
                    **shown(records[row]),
                    "expected": _named(records[row]["text"], records[row]["spans"]),
                    "answered": _named(records[row]["text"], answers[row]["spans"]),
                }
                for row in worst
            ],
        }

    def baselines(self, train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Answer]]:
        """The entities of the training rows found again, and no entity at all."""
        known = Gazetteer(train)
        return {
            "gazetteer": [{"spans": list(known.spans(record["text"])), "truncated": False} for record in test],
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


@dataclass(frozen=True, slots=True)
class _Reading:
    """The units of one record, in each of its windows and put together."""

    numbers: list[int]
    """Its features."""
    cuts: list[_bio.Units]
    whole: _bio.Units
    owners: NDArray[np.int64]
    """The feature that answers each unit of the whole."""


def _read(records: Sequence[Record], features: Sequence[Feature]) -> list[_Reading]:
    windows: list[list[int]] = [[] for _ in records]
    for number, feature in enumerate(features):
        windows[feature.record].append(number)
    read = []
    for record, numbers in zip(records, windows, strict=True):
        inside = _bio.inside(record["text"])
        held = [features[number] for number in numbers]
        cuts = [_bio.units(record["text"], feature, inside) for feature in held]
        whole, window = _bio.merge(cuts, held)
        read.append(_Reading(numbers, cuts, whole, np.array(numbers, np.int64)[window]))
    return read


def _alignment(records: Sequence[Record], read: Sequence[_Reading]) -> dict[str, int]:
    counts = {"spans": 0, "misaligned": 0, "truncated": 0}
    for record, reading in zip(records, read, strict=True):
        gold, cut = _bio.longest(record["spans"]), reading.whole
        _, exact = _bio.tags(gold, cut, dict.fromkeys((span["label"] for span in gold), 0))
        counts["spans"] += len(gold)
        for span, fits in zip(gold, exact, strict=True):
            seen = len(cut) and cut.starts[0] <= span["start"] and span["end"] <= cut.ends[-1]
            counts["misaligned" if seen else "truncated"] += not fits
    return counts


def _named(text: str, spans: Sequence[Mapping[str, Any]]) -> str:
    """Spans as a reader knows them: the words, and the label in brackets."""
    return "; ".join(f"{text[span['start'] : span['end']]} [{span['label']}]" for span in spans) or "none"


def _log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
