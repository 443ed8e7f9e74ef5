"""Texts as vectors whose cosine says how well they fit: a bi-encoder for retrieval and FAQ search.

The two texts of a record meet only in the loss and the score, so each side can be stored and searched alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.errors import DataError
from vertune.core.kinds import Run, Task
from vertune.core.records import Answer, Cleaned, Column, Feature, Record, Targets, View
from vertune.metrics import ranking
from vertune.metrics.bm25 import BM25
from vertune.metrics.words import terms
from vertune.tasks import _rows
from vertune.tasks._windows import truncated

if TYPE_CHECKING:
    import polars as pl
    import torch

_ERRORS = 50
_DEPTH = 1000
"""Places of a ranking over all documents that count, as in TREC runs."""
_RELEVANT = ("1", "1.0", "true", "yes")
_IRRELEVANT = ("0", "0.0", "false", "no")


class EmbedAnswer(TypedDict, total=False):
    """What the model says of one text, or of two."""

    vector: list[float]
    """Of `text`, of length one."""
    vector_pair: list[float]
    """Of `text_pair`, where there is one."""
    score: float
    """Cosine of both."""
    ranking: list[int]
    """The best documents for `text`, as places among the different `text_pair` of all records: from baselines without vectors."""
    truncated: bool


class Embed(Task):
    """Options of the embedding task."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("text", "The query."),
        Column("text_pair", "A document; absent where only vectors of `text` are wanted.", required=False),
        Column("label", "1 where the document fits the query, else 0; absent where all do.", required=False, role="target", type="label"),
    )
    answer: ClassVar[type[Any]] = EmbedAnswer
    whole_batch: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ranking.NAMES

    temperature: float = Field(default=0.05, gt=0)
    """What cosines are divided by in the loss: the smaller, the more the hardest negatives count."""

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Rows with a query and, where the column is there, a document; labels as 1 and 0."""
        import polars as pl

        _rows.need(frame, self.columns, self.name)
        names = [name for name in ("text", "text_pair") if name in frame.columns]
        problems: list[_rows.Problem] = [(_rows.blank(name), f"{name} is empty") for name in names]
        results = [_rows.string(name) for name in names]
        if "label" in frame.columns:
            label = _rows.string("label").str.strip_chars().str.to_lowercase()
            reason = pl.format("label is {}, but must be 1 (fits) or 0 (does not)", _rows.string("label").fill_null("missing"))
            problems.append((~label.is_in([*_RELEVANT, *_IRRELEVANT]).fill_null(False), reason))
            results.append(label.is_in(_RELEVANT).cast(pl.Int64).alias("label"))
        return _rows.sift(frame, [*names, "label"], problems, results)

    def fit(self, frame: pl.DataFrame) -> Self:
        """The same task, once the training rows are seen to hold pairs that fit."""
        _rows.target(frame, "text_pair", self.name)
        if "label" in frame.columns and not (frame["label"] == 1).any():
            raise DataError(
                "The task 'embed' learns from pairs that fit, but no training row has label 1. Leave the label out where all pairs fit."
            )
        return self

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """The query and the document, each a sequence of its own."""
        query = View("query", ("text",))
        return (query, View("document", ("text_pair",))) if "text_pair" in columns else (query,)

    @property
    def size(self) -> int:
        """The head keeps the size of the state, so it has none of its own."""
        return 0

    def head(self, width: int) -> torch.nn.Module:
        """Vectors of length one; nothing to learn."""
        from vertune.nn.contrastive import Unit

        return Unit()

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """Role (0 query, 1 document), id of the query, id of the document, label, for each feature."""
        if any(record.get("text_pair") is None for record in records):
            raise DataError("The task 'embed' learns from pairs, but a record has no text_pair.")
        queries = [_number(record["text"]) for record in records]
        documents = [_number(record["text_pair"]) for record in records]
        rows = [
            [int(feature.role == "document"), queries[feature.record], documents[feature.record], int(_fits(records[feature.record]))]
            for feature in features
        ]
        return Targets(list(np.array(rows, np.int64).reshape(-1, 4)))

    def sampling(self, records: Sequence[Record]) -> NDArray[np.float64] | None:
        """Rows that fit make up half of an epoch where fewer do: only they ask for a document, the others are hard negatives."""
        fits = np.array([_fits(record) for record in records], bool)
        share = float(fits.mean()) if len(fits) else 1.0
        return np.where(fits, 0.5 / share, 0.5 / (1 - share)) if 0 < share < 0.5 else None

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """InfoNCE over the documents of the batch; rows with label 0 give hard negatives."""
        from vertune.nn.contrastive import info_nce

        return info_nce(outputs, targets, self.temperature)

    def decode(
        self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]], run: Run | None = None
    ) -> list[Answer]:
        """The vectors of each record, and their cosine."""
        answers: list[Answer] = [{"truncated": lost} for lost in truncated(len(records), features)]
        sides: list[dict[str, NDArray[Any]]] = [{} for _ in records]
        for feature, output in zip(features, outputs, strict=True):
            sides[feature.record][feature.role] = output
        for record, answer, side in zip(records, answers, sides, strict=True):
            answer["vector"] = side["query"].tolist()
            if record.get("text_pair"):
                answer["vector_pair"] = side["document"].tolist()
                answer["score"] = float(side["query"].astype(np.float64) @ side["document"])
        return answers

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[np.float64]:
        """A row a query that has a document which fits; queries without one, as in TREC's raw setting, have no rank and do not count.

        With labels, a query ranks the documents of its own rows; without, all documents of these records.
        """
        rows = self._rows(records, answers)
        return np.array([row for _, row in rows], np.float64).reshape(-1, 1 + len(ranking.NAMES))

    def _rows(self, records: Sequence[Record], answers: Sequence[Answer]) -> list[tuple[str, NDArray[np.float64]]]:
        """Each query that counts, with its row of the tally, in order of first appearance."""
        queries: dict[str, list[int]] = {}
        for row, record in enumerate(records):
            queries.setdefault(record["text"], []).append(row)
        if any(record.get("label") is not None for record in records):
            return [(query, found) for query, rows in queries.items() if (found := _among_own(rows, records, answers)) is not None]
        documents = {text: number for number, text in enumerate(dict.fromkeys(record["text_pair"] for record in records))}
        vectors = _vectors(records, answers, len(documents), documents)
        ranked = []
        for query, rows in queries.items():
            relevant = np.array(sorted({documents[records[row]["text_pair"]] for row in rows}), np.int64)
            places = _among_all(answers[rows[0]], relevant, vectors)
            ranked.append((query, ranking.statistics(places[places <= _DEPTH], len(relevant))))
        return ranked

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Means over queries."""
        return ranking.summarise(total)

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """The queries with the worst average precision."""
        rows = sorted(self._rows(records, answers), key=lambda item: float(item[1][1]))
        return {"errors": [{"text": query, "average_precision": float(row[1])} for query, row in rows[:_ERRORS] if row[1] < 1]}

    def baselines(self, train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Answer]]:
        """BM25 over the documents of the split: words, and for scripts without spaces characters and pairs of them."""
        documents = {text: number for number, text in enumerate(dict.fromkeys(record["text_pair"] for record in test))}
        index = BM25([terms(text) for text in documents])
        labelled = any(record.get("label") is not None for record in test)
        known: dict[str, NDArray[np.float64]] = {}
        answers: list[Answer] = []
        for record in test:
            if record["text"] not in known:
                known = {record["text"]: index.scores(terms(record["text"]))}  # rows of one query mostly stand together
            scores = known[record["text"]]
            answer: Answer = {"score": float(scores[documents[record["text_pair"]]]), "truncated": False}
            if not labelled:
                answer["ranking"] = np.argsort(-scores, kind="stable")[:_DEPTH].tolist()
            answers.append(answer)
        return {"bm25": answers}

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """Questions about things, each with a sentence that fits and one that does not."""
        things = ("tea", "rain", "music", "bread", "茶", "雨", "音乐", "面包")
        records = []
        for row in range(rows):
            thing, other = things[row // 2 % 8], things[(row // 2 + 1 + row // 16 % 3) % 8]
            fits = row % 2 == 0
            document = f"All of this is on {thing if fits else other} number {row // 16}."
            records.append({"text": f"What about {thing}?", "text_pair": document, "label": int(fits)})
        return records


def _fits(record: Record) -> bool:
    """Whether the two texts belong together; without a label they do."""
    label = record.get("label")
    return label is None or int(label) == 1


def _number(text: str) -> int:
    """A number that equal texts share, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def _among_own(rows: Sequence[int], records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[np.float64] | None:
    """The tally's row of a query that ranks the documents of its own rows; None where none of them fits."""
    relevant = np.array([_fits(records[row]) for row in rows], bool)
    if not relevant.any():
        return None
    scores = np.array([answers[row]["score"] for row in rows], np.float64)
    return ranking.statistics(ranking.ranks(relevant, scores), int(relevant.sum()))


def _vectors(records: Sequence[Record], answers: Sequence[Answer], count: int, places: dict[str, int]) -> NDArray[np.float32] | None:
    """The vector of each document; None where the answers have none."""
    if not answers or "vector_pair" not in answers[0]:
        return None
    vectors = np.zeros((count, len(answers[0]["vector_pair"])), np.float32)
    for record, answer in zip(records, answers, strict=True):
        vectors[places[record["text_pair"]]] = answer["vector_pair"]
    return vectors


def _among_all(answer: Answer, relevant: NDArray[np.int64], vectors: NDArray[np.float32] | None) -> NDArray[np.int64]:
    """Ranks of the relevant documents, ascending, by the answer's ranking or by the cosine with its vector."""
    if vectors is None:
        return np.flatnonzero(np.isin(answer["ranking"], relevant)) + 1
    mask = np.zeros(len(vectors), bool)
    mask[relevant] = True
    return ranking.ranks(mask, vectors @ np.asarray(answer["vector"], np.float32))
