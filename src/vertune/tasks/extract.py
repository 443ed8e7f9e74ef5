"""The answer to a question as a stretch of a context, or that the context holds none.

Reads question and context together, the context in windows where it is long; answers are places in the context.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.baselines import passage
from vertune.core.kinds import Task
from vertune.core.records import Answer, Cleaned, Column, Feature, Record, Span, Targets, View
from vertune.decoders import extract as decoder
from vertune.metrics import squad
from vertune.metrics.words import pieces
from vertune.tasks import _answers, _rows, _spans

if TYPE_CHECKING:
    import polars as pl
    import torch

_log = logging.getLogger(__name__)
_ERRORS = 50
_LEAST = 64


class ExtractAnswer(TypedDict):
    """The answer to one question."""

    spans: list[Span]
    """The answer in the context, labelled `answer`; empty where there is none."""
    text: str
    probability: float
    truncated: bool


class Extract(Task):
    """Options of the extraction task."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("question", "The question."),
        Column("context", "The text that may hold the answer."),
        Column("answers", "Accepted answers as {start, text}, in code points; [] where there is none.", role="target", type="answers"),
    )
    answer: ClassVar[type[Any]] = ExtractAnswer
    decoder: ClassVar[str | None] = decoder.__name__
    states: ClassVar[str] = "tokens"
    metrics: ClassVar[tuple[str, ...]] = ("f1", "exact_match")

    longest: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Code points of the longest answer; auto takes the longest training answer, 64 at least."""
    unanswerable: bool | Literal["auto"] = "auto"
    """Whether a context may hold no answer; auto goes by the training rows."""
    threshold: float = 0.0
    """How much likelier (in log-probability) no answer must be than the best one; learnt on validation."""

    @property
    def _fields(self) -> tuple[str, str, str]:
        """Names of the columns that hold the question, the context and the answers."""
        question, context = self.input_columns
        return question.name, context.name, self.target_columns[0].name

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Rows with answers that stand in their context; a note counts those that were found at another place."""
        import polars as pl

        _rows.need(frame, self.columns, self.name)
        question, context, name = self._fields
        checks = _rows.Checks([question, context, name])
        checks.problems += [(_rows.blank(field), f"the {field} is empty") for field in (question, context)]
        checks.results += [_rows.string(question), _rows.string(context)]
        if name not in frame.columns:
            return _rows.sift(frame, checks, self.name)
        frame = _answers.read(frame, context, name)
        checks.problems += [
            (pl.col("__problem").is_not_null(), pl.col("__problem")),
            (pl.col(name).is_null(), f"the {name} are missing; write [] where the {context} holds none"),
        ]
        what = f"answers do not stand at their start and were moved to the one place where the {context} holds them"
        checks.changes.append(_rows.Change(what, pl.col("__moved").list.len(), pl.col(name).list.len(), pl.col("__moved")))
        cleaned = _rows.sift(frame, checks, self.name)
        cleaned.frame = cleaned.frame.drop("__problem", "__moved")
        return cleaned

    def fit(self, frame: pl.DataFrame) -> Self:
        """A copy that knows how long answers are and whether there may be none."""
        answers = _rows.target(frame, self._fields[2], self.name)
        lengths = answers.explode().drop_nulls().struct.field("text").str.len_chars()
        update: dict[str, Any] = {}
        if self.longest == "auto":
            update["longest"] = max(_LEAST, int(lengths.max() or 0))  # type: ignore[arg-type]
        if self.unanswerable == "auto":
            update["unanswerable"] = bool((answers.list.len() == 0).any())
        return self.model_copy(update=update)

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """Question and context together; the context is what is cut into windows."""
        return (View("pair", self._fields[:2], cut=1, windows=True, places=True),)

    @property
    def size(self) -> int:
        """How well a token starts the answer, how well it ends it."""
        return 2

    def head(self, width: int) -> torch.nn.Module:
        """One linear layer over each token's state."""
        from torch import nn

        return nn.Linear(width, self.size)

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """For each token whether an answer starts or ends there; a window without one points at the place of no answer.

        Questions with an answer that no window holds are logged.
        """
        values, name = [], self._fields[2]
        found = np.zeros(len(records), bool)
        for feature in features:
            bits, held = _answers.mark(feature, records[feature.record][name])
            values.append(bits)
            found[feature.record] |= held
        lost = sum(bool(record[name]) and not held for record, held in zip(records, found, strict=True))
        if lost:
            _log.warning(
                "%d of %d answers are in text that is truncated, so they can't be learned. Set encoder.truncation: window.",
                lost,
                len(records),
            )
        return Targets(values)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of where the answer starts and ends, mean of both."""
        from vertune.nn.token_losses import pointed

        return pointed(outputs, targets)

    def decoder_options(self) -> dict[str, Any]:
        """The field of the context, the longest answer, and the threshold where there may be none."""
        return {
            "context": self._fields[1],
            "longest": _LEAST if self.longest == "auto" else self.longest,
            "threshold": self.threshold if self.unanswerable is True else None,
        }

    def named(self, answer: Answer) -> tuple[str, ...]:
        """`answer` where the context holds one."""
        return tuple(span["label"] for span in answer["spans"])

    def confidence(self, answer: Answer) -> float | None:
        """The probability of the answer, or of none."""
        return float(answer["probability"])

    def agrees(self, one: Answer, other: Answer) -> bool:
        """Whether both answers stand at the same place."""
        return _spans.places(one["spans"]) == _spans.places(other["spans"])

    def calibrate(self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]) -> Self:
        """A copy with the threshold of best mean F1, where the training rows taught that there may be no answer."""
        if self.unanswerable is not True or not records:
            return self
        _, context, name = self._fields
        none, score, spans = decoder.best_spans(len(records), features, outputs, self.decoder_options()["longest"])
        margin = np.where(np.isfinite(score), none - score, np.inf)
        accepted = [[item["text"] for item in record[name]] for record in records]
        found = [record[context][start:end] for record, (start, end) in zip(records, spans, strict=True)]
        given = np.array([squad.f1(text, texts) for text, texts in zip(found, accepted, strict=True)])
        refused = np.array([squad.f1("", texts) for texts in accepted])
        order = np.argsort(margin, kind="stable")
        # answering the first n rows of this order and refusing the rest
        total = np.concatenate([[0.0], np.cumsum((given - refused)[order])])
        sorted_margin = np.clip(margin[order], -1e6, 1e6)
        edges = np.concatenate([[sorted_margin[0] - 1], (sorted_margin[1:] + sorted_margin[:-1]) / 2, [sorted_margin[-1] + 1]])
        possible = np.concatenate([[True], sorted_margin[1:] > sorted_margin[:-1], [True]])
        return self.model_copy(update={"threshold": float(edges[int(np.where(possible, total, -np.inf).argmax())])})

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[np.float64]:
        """One, F1 and exact match of each question."""
        rows, name = [], self._fields[2]
        for record, answer in zip(records, answers, strict=True):
            accepted = [item["text"] for item in record[name]]
            rows.append([1.0, squad.f1(answer["text"], accepted), squad.exact(answer["text"], accepted)])
        return np.array(rows, np.float64).reshape(-1, 3)

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """F1 and exact match, means over questions."""
        count = np.maximum(total[..., 0], 1)
        return {"f1": total[..., 1] / count, "exact_match": total[..., 2] / count}

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """The surest of the worst answers."""
        question, _, name = self._fields
        f1 = self.tally(records, answers)[:, 1]
        sure = np.array([answer.get("probability", 0.0) for answer in answers])
        worst = [int(row) for row in np.lexsort((-sure, f1))[:_ERRORS] if f1[row] < 1]
        return {
            "errors": [
                {
                    "row": row,
                    question: records[row][question],
                    "expected": " / ".join(item["text"] for item in records[row][name]) or "none",
                    "answered": answers[row]["text"] or "none",
                    "f1": float(f1[row]),
                }
                for row in worst
            ]
        }

    def baselines(self, train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Answer]]:
        """The stretch of answer length among most words of the question; the first stretch, or none where most rows have none."""
        question, context, name = self._fields
        lengths = [len(pieces(item["text"])) for record in train for item in record[name]]
        length = max(1, int(np.median(lengths))) if lengths else 1
        empty = sum(not record[name] for record in train) * 2 > len(train)
        best = [passage.best(row[question], row[context], length) for row in test]
        usual = [None if empty else passage.first(row[context], length) for row in test]
        return {
            "n-gram": [decoder.answer_at(row[context], place) for row, place in zip(test, best, strict=True)],
            "majority": [decoder.answer_at(row[context], place) for row, place in zip(test, usual, strict=True)],
        }

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """Which colour a thing has."""
        things, colours = ("car", "house", "door", "hat"), ("red", "blue", "green", "white")
        records = []
        for row in range(rows):
            thing, other = things[row % 4], things[(row + 1 + row // 16 % 3) % 4]
            colour, second = colours[row // 4 % 4], colours[(row // 4 + 1) % 4]
            sentences = [f"The {thing} is {colour}.", f"The {other} is {second}."]
            context = " ".join(sentences if row % 2 else sentences[::-1])
            start = context.index(f"{thing} is {colour}") + len(thing) + 4
            records.append({"question": f"What colour is the {thing}?", "context": context, "answers": [{"start": start, "text": colour}]})
        return records
