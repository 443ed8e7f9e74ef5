"""Finds the answer to a question as a span of a text (the context), or predicts that the context has no answer.

The model reads question and context together; a long context is divided into windows (overlapping pieces).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.baselines import passage
from vertune.core.columns import named
from vertune.core.kinds import Task
from vertune.core.profile import ColumnProfile, Guess, TableProfile
from vertune.core.records import Answer, Cleaned, Column, Feature, Record, Span, Targets, View
from vertune.decoders import extract as decoder
from vertune.metrics import squad
from vertune.metrics.words import pieces
from vertune.tasks import _answers, _guess, _rows, _spans

if TYPE_CHECKING:
    import polars as pl
    import torch

_log = logging.getLogger(__name__)
_PLACED, _NAMED = 1.6, 0.75
"""The score of a guess for a table whose answers have positions in the context, and for one with columns of the usual names alone."""
_QUESTIONS = ("question", "questions", "query", "问题", "提问")
_CONTEXTS = ("context", "passage", "paragraph", "document", "article", "上下文", "文章", "段落", "原文", "背景", "文本")
_ANSWERS = ("answers", "answer", "答案")
_LEAST = 64
"""Least value that `longest: auto` sets, in code points."""


def _by_length(texts: TableProfile) -> tuple[list[ColumnProfile], list[ColumnProfile]]:
    """Return the shorter of two columns of texts as the question, and the longer as the context; empty lists if there are not two."""
    if len(texts.columns) != 2:
        return [], []
    question, context = sorted(texts.columns, key=lambda column: column.length)
    return [question], [context]


class ExtractAnswer(TypedDict):
    """The prediction for one question: the answer, its probability, and whether the input was truncated."""

    spans: list[Span]
    """A list with the span of the answer in the context, labelled `answer`; empty if there is no answer."""
    text: str
    probability: float
    truncated: bool


class Extract(Task):
    """Options of the extraction task, which answers questions with spans of a given text (the context)."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("question", "The question."),
        Column("context", "The text that may contain the answer."),
        Column("answers", "Accepted answers as {start, text}, in code points; [] if there is none.", role="target", type="answers"),
    )
    answer: ClassVar[type[Any]] = ExtractAnswer
    decoder: ClassVar[str | None] = decoder.__name__
    states: ClassVar[str] = "tokens"
    metrics: ClassVar[tuple[str, ...]] = ("f1", "exact_match")

    longest: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Greatest length of a predicted answer in code points; auto is the length of the longest training answer, but at least 64."""
    unanswerable: bool | Literal["auto"] = "auto"
    """Whether a context may have no answer; auto is true if any training row has none."""
    threshold: float = 0.0
    """The model predicts that there is no answer if the log-probability of that exceeds the best answer's by more than this number;
    training fits it on the validation rows."""

    @property
    def _fields(self) -> tuple[str, str, str]:
        """The names of the question column, the context column and the answer column."""
        question, context = self.input_columns
        return question.name, context.name, self.target_columns[0].name

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Check that the context of each row contains the expected answers of the row, and reject other rows with a reason.

        If the context does not contain an answer at its `start`, but at exactly one other position, `start` is
        corrected to this position. A note in the result counts these corrections.
        """
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
            (named(name).is_null(), f"the {name} are missing; write [] if the {context} contains none"),
        ]
        what = f"answers had a wrong start, which was corrected to the only position where the {context} contains them"
        checks.changes.append(_rows.Change(what, pl.col("__moved").list.len(), named(name).list.len(), pl.col("__moved")))
        cleaned = _rows.sift(frame, checks, self.name)
        cleaned.frame = cleaned.frame.drop("__problem", "__moved")
        return cleaned

    def guess(self, table: TableProfile) -> Guess | None:
        """Return which columns contain questions, the texts that contain their answers, and the answers."""
        placed = [column for column in table.targets("answers") if column.kind == "answers"]
        answers = (
            placed or table.targets() or [column for column in table.named(*_ANSWERS) if column.kind in {"text", "category", "labels"}]
        )
        texts = TableProfile(tuple(table.of("text", "category")), table.rows)
        asked, contexts = texts.named(*_QUESTIONS), texts.named(*_CONTEXTS)
        if len(table.texts) == 2:
            asked, contexts = texts.named(table.texts[0]), texts.named(table.texts[1])
        if placed and not (asked and contexts):
            asked, contexts = _by_length(texts)
        if not (answers and asked and contexts) or answers[0] in (asked[0], contexts[0]):
            return None
        read = dict(zip(self._fields, (asked[0], contexts[0], answers[0]), strict=True))
        reasons = {name: column.description for name, column in read.items()}
        reasons["task"] = f"'{_guess.short(answers[0].name)}' contains parts of '{_guess.short(contexts[0].name)}'"
        return Guess(_PLACED if placed else _NAMED, {name: [column.name] for name, column in read.items()}, reasons)

    def fit(self, frame: pl.DataFrame) -> Self:
        """Return a copy in which `longest` and `unanswerable`, if they are `auto`, are set from the training rows.

        `longest` becomes the length of the longest answer in code points, but at least 64. `unanswerable` becomes true
        if any row has no answer.
        """
        answers = _rows.target(frame, self._fields[2], self.name)
        lengths = answers.explode().drop_nulls().struct.field("text").str.len_chars()
        update: dict[str, Any] = {}
        if self.longest == "auto":
            update["longest"] = max(_LEAST, int(lengths.max() or 0))  # type: ignore[arg-type]
        if self.unanswerable == "auto":
            update["unanswerable"] = bool((answers.list.len() == 0).any())
        return self.model_copy(update=update)

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """Return the view (the definition of the model input) of a record: question and context together.

        A long context is divided into windows (overlapping pieces).
        """
        return (View("pair", self._fields[:2], cut=1, windows=True, places=True),)

    @property
    def size(self) -> int:
        """The number of outputs of the model per token: a score for the start and one for the end of the answer."""
        return 2

    def head(self, width: int) -> torch.nn.Module:
        """Return a new head (last layer): a linear layer that is applied to each token's output vector of length `width`.

        Its two outputs are the token's scores as start and as end of the answer.
        """
        from torch import nn

        return nn.Linear(width, self.size)

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """Return, for each token of each feature (model input), whether an answer starts or ends in it.

        If a feature contains no complete answer, the special token that stands for "no answer" is marked as start and
        end instead. Logs a warning if the answers to some questions are in the truncated part of a text, so that no
        feature contains them.
        """
        values, name = [], self._fields[2]
        visible = np.zeros(len(records), bool)
        for feature in features:
            bits, contains_answer = _answers.mark(feature, records[feature.record][name])
            values.append(bits)
            visible[feature.record] |= contains_answer
        lost = sum(bool(record[name]) and not seen for record, seen in zip(records, visible, strict=True))
        if lost:
            _log.warning(
                "The answers to %d of %d questions are in text that is cut off because it is too long, so the model can't learn them. "
                "Set encoder.truncation: window.",
                lost,
                len(records),
            )
        return Targets(values)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each model input, shape (inputs,).

        It is the mean of two cross-entropies over the tokens of the input: one for the start of the answer, one for its end.
        """
        from vertune.nn.token_losses import pointed

        return pointed(outputs, targets)

    def decoder_options(self) -> dict[str, Any]:
        """Return the keyword arguments of `decode` in `vertune.decoders.extract`, which makes answers from model outputs.

        They are the name of the context field, the greatest length of an answer, and the threshold for "no answer"
        (None if every context has an answer).
        """
        return {
            "context": self._fields[1],
            "longest": _LEAST if self.longest == "auto" else self.longest,
            "threshold": self.threshold if self.unanswerable is True else None,
        }

    def named(self, answer: Answer) -> tuple[str, ...]:
        """Return the tuple (`answer`,) if the prediction contains an answer, and an empty tuple if it contains none."""
        return tuple(span["label"] for span in answer["spans"])

    def confidence(self, answer: Answer) -> float | None:
        """Return the probability of the predicted answer or, if the prediction is empty, the probability that there is no answer."""
        return float(answer["probability"])

    def as_target(self, answer: Answer, record: Record) -> dict[str, Any]:
        """Return the predicted answer as the only accepted one, or no answer if none was predicted; its text is that of the record."""
        _, context, name = self._fields
        return {name: [{"start": one["start"], "text": record[context][one["start"] : one["end"]]} for one in answer["spans"]]}

    def agrees(self, one: Answer, other: Answer) -> bool:
        """Return whether two predictions mark the same span of the context, or both mark none."""
        return _spans.places(one["spans"]) == _spans.places(other["spans"])

    def calibrate(self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]) -> Self:
        """Return a copy with the threshold for "no answer" that gives the highest mean F1 on these validation records.

        Returns the task unchanged if there are no records, or if every context has an answer (the option `unanswerable`
        is not true).
        """
        if self.unanswerable is not True or not records:
            return self
        _, context, name = self._fields
        none, score, spans = decoder.best_spans(len(records), features, outputs, self.decoder_options()["longest"])
        margin = np.where(np.isfinite(score), none - score, np.inf)
        accepted = [[item["text"] for item in record[name]] for record in records]
        texts = [record[context][start:end] for record, (start, end) in zip(records, spans, strict=True)]
        answered = np.array([squad.f1(text, options) for text, options in zip(texts, accepted, strict=True)])
        refused = np.array([squad.f1("", options) for options in accepted])
        order = np.argsort(margin, kind="stable")
        # total[n]: gain in F1 from answering the first n rows of this order and refusing the rest
        total = np.concatenate([[0.0], np.cumsum((answered - refused)[order])])
        sorted_margin = np.clip(margin[order], -1e6, 1e6)
        edges = np.concatenate([[sorted_margin[0] - 1], (sorted_margin[1:] + sorted_margin[:-1]) / 2, [sorted_margin[-1] + 1]])
        possible = np.concatenate([[True], sorted_margin[1:] > sorted_margin[:-1], [True]])
        return self.model_copy(update={"threshold": float(edges[int(np.where(possible, total, -np.inf).argmax())])})

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[np.float64]:
        """Return one row per question with three numbers: 1, F1 and exact match; shape (records, 3).

        The sum of the first column is the number of questions; `summarise` needs it to compute means.
        """
        rows, name = [], self._fields[2]
        for record, answer in zip(records, answers, strict=True):
            accepted = [item["text"] for item in record[name]]
            rows.append([1.0, squad.f1(answer["text"], accepted), squad.exact(answer["text"], accepted)])
        return np.array(rows, np.float64).reshape(-1, 3)

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the mean F1 and the mean exact match over questions; `total` is the sum of the rows that `tally` returns."""
        count = np.maximum(total[..., 0], 1)
        return {"f1": total[..., 1] / count, "exact_match": total[..., 2] / count}

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """Return the predictions with an F1 below 1 for the evaluation report, the lowest F1 first.

        Of predictions with equal F1, the most confident come first.
        """
        question, _, name = self._fields
        f1 = self.tally(records, answers)[:, 1]
        sure = np.array([answer.get("probability", 0.0) for answer in answers])
        worst = [int(row) for row in np.lexsort((-sure, f1)) if f1[row] < 1]
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
        """Return the test predictions of two baselines, `n-gram` and `majority`.

        `n-gram` predicts the span whose surroundings share the most words with the question. `majority` predicts the first span of
        the context, or no answer if most training rows have none. Both predict spans whose length in words is the median of the
        training answers.
        """
        question, context, name = self._fields
        lengths = [len(pieces(item["text"])) for record in train for item in record[name]]
        length = max(1, int(np.median(lengths))) if lengths else 1
        empty = sum(not record[name] for record in train) * 2 > len(train)
        best = [passage.best(row[question], row[context], length) for row in test]
        usual = [None if empty else passage.first(row[context], length) for row in test]
        return {
            "n-gram": [decoder.answer_at(row[context], span) for row, span in zip(test, best, strict=True)],
            "majority": [decoder.answer_at(row[context], span) for row, span in zip(test, usual, strict=True)],
        }

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """Return example rows: questions about the colour of a thing, with contexts that name the colours of two things."""
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
