"""Texts as vectors whose cosine says how well they fit: a bi-encoder for retrieval and FAQ search.

The two texts of a record meet only in the loss and the score, so each side can be stored and searched alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.errors import DataError
from vertune.core.kinds import Task
from vertune.core.records import Answer, Cleaned, Column, Feature, Record, Targets, View
from vertune.decoders import embed as decoder
from vertune.metrics import ranking
from vertune.metrics.bm25 import BM25
from vertune.metrics.words import terms
from vertune.tasks import _rows

if TYPE_CHECKING:
    import polars as pl
    import torch

_ERRORS = 50
_SAME_DIRECTION = 0.999
"""Cosine from which two vectors say the same."""
_DEPTH = 1000
"""Places of a ranking over all documents that count, as in TREC runs."""
_RELEVANT = ("1", "1.0", "true", "yes")
_IRRELEVANT = ("0", "0.0", "false", "no")


class EmbedAnswer(TypedDict, total=False):
    """The answer for one text, or for two."""

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
    decoder: ClassVar[str | None] = decoder.__name__
    gives_vectors: ClassVar[bool] = True
    whole_batch: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ranking.NAMES

    temperature: float = Field(default=0.05, gt=0)
    """What cosines are divided by in the loss: the smaller, the more the hardest negatives count."""

    @property
    def _fields(self) -> _Fields:
        """Names of the query, the document and the label."""
        query, document = self.input_columns
        return _Fields(query.name, document.name, self.target_columns[0].name)

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Rows with a query and, where the column is there, a document; labels as 1 and 0."""
        import polars as pl

        _rows.need(frame, self.columns, self.name)
        fields = self._fields
        names = [name for name in (fields.query, fields.document) if name in frame.columns]
        checks = _rows.Checks([*names, fields.label])
        checks.problems += [(_rows.blank(name), f"{name} is empty") for name in names]
        checks.results += [_rows.string(name) for name in names]
        if fields.label in frame.columns:
            value = _rows.string(fields.label)
            label = value.str.strip_chars().str.to_lowercase()
            reason = pl.format(f"{fields.label} is {{}}, but must be 1 (fits) or 0 (does not)", value.fill_null("missing"))
            checks.problems.append((~label.is_in([*_RELEVANT, *_IRRELEVANT]).fill_null(False), reason))
            checks.results.append(label.is_in(_RELEVANT).cast(pl.Int64).alias(fields.label))
        return _rows.sift(frame, checks, self.name)

    def fit(self, frame: pl.DataFrame) -> Self:
        """The same task; DataError where the training rows hold no pair that fits."""
        fields = self._fields
        _rows.target(frame, fields.document, self.name)
        if fields.label in frame.columns and not (frame[fields.label] == 1).any():
            raise DataError(
                f"No training row has {fields.label} 1, but the task '{self.name}' learns from matching pairs. "
                f"Leave {fields.label} out if all pairs match."
            )
        return self

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """The query and the document, each a view of its own."""
        fields = self._fields
        query = View("query", (fields.query,))
        return (query, View("document", (fields.document,))) if fields.document in columns else (query,)

    @property
    def size(self) -> int:
        """The head keeps the size of the state, so it has none of its own."""
        return 0

    def head(self, width: int) -> torch.nn.Module:
        """Vectors of length one; nothing to learn."""
        from vertune.nn.contrastive import Normalise

        return Normalise()

    def apply(self, states: NDArray[Any], head: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Vectors of length one."""
        unit: NDArray[Any] = states / np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), 1e-12)
        return unit

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """Role (0 query, 1 document), id of the query, id of the document, label, for each feature."""
        fields = self._fields
        if any(record.get(fields.document) is None for record in records):
            raise DataError(
                f"A record has no {fields.document}, but the task '{self.name}' learns from pairs. Add it, or leave the row out."
            )
        queries = [_number(record[fields.query]) for record in records]
        documents = [_number(record[fields.document]) for record in records]
        fits = [int(fields.fits(record)) for record in records]
        rows = [
            [int(feature.role == "document"), queries[feature.record], documents[feature.record], fits[feature.record]]
            for feature in features
        ]
        return Targets(list(np.array(rows, np.int64).reshape(-1, 4)))

    def sampling(self, records: Sequence[Record]) -> NDArray[np.float64] | None:
        """Rows that fit make up half of an epoch where fewer do: only they ask for a document, the others are hard negatives."""
        fits = np.array([self._fields.fits(record) for record in records], bool)
        share = float(fits.mean()) if len(fits) else 1.0
        return np.where(fits, 0.5 / share, 0.5 / (1 - share)) if 0 < share < 0.5 else None

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """InfoNCE over the documents of the batch; rows with label 0 give hard negatives."""
        from vertune.nn.contrastive import info_nce

        return info_nce(outputs, targets, self.temperature)

    def decoder_options(self) -> dict[str, Any]:
        """The field of the document."""
        return {"document": self._fields.document}

    def agrees(self, one: Answer, other: Answer) -> bool:
        """Whether the vectors of both answers point the same way, to a cosine of 0.999."""
        pairs = [(one[name], other[name]) for name in ("vector", "vector_pair") if name in one and name in other]
        return bool(pairs) and all(float(np.dot(left, right)) >= _SAME_DIRECTION for left, right in pairs)

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[np.float64]:
        """A row a query that has a document which fits; queries without one, as in TREC's raw setting, have no rank and do not count.

        With labels, a query ranks the documents of its own rows; without, all documents of these records.
        """
        return np.array([query.statistics for query in _queries(records, answers, self._fields)], np.float64).reshape(
            -1, 1 + len(ranking.NAMES)
        )

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Means over queries."""
        return ranking.summarise(total)

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """The queries with the worst average precision, each with the document that should have come first and the one that did."""
        fields = self._fields
        queries = sorted(_queries(records, answers, fields), key=lambda query: float(query.statistics[1]))
        return {
            "errors": [
                {
                    "row": query.row,
                    fields.query: records[query.row][fields.query],
                    "expected": records[query.relevant][fields.document],
                    "answered": records[query.first][fields.document],
                    "average_precision": float(query.statistics[1]),
                }
                for query in queries[:_ERRORS]
                if query.statistics[1] < 1
            ]
        }

    def baselines(self, train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Answer]]:
        """BM25 over the documents of the split: words, and for scripts without spaces characters and pairs of them."""
        fields = self._fields
        documents = {text: number for number, text in enumerate(dict.fromkeys(record[fields.document] for record in test))}
        index = BM25([terms(text) for text in documents])
        labelled = any(record.get(fields.label) is not None for record in test)
        known: dict[str, NDArray[np.float64]] = {}
        answers: list[Answer] = []
        for record in test:
            query = record[fields.query]
            if query not in known:
                known = {query: index.scores(terms(query))}  # rows of one query mostly stand together
            scores = known[query]
            answer: Answer = {"score": float(scores[documents[record[fields.document]]]), "truncated": False}
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


@dataclass(frozen=True, slots=True)
class _Fields:
    """Names of the fields of a record."""

    query: str
    document: str
    label: str

    def fits(self, record: Record) -> bool:
        """Whether query and document belong together; without a label they do."""
        label = record.get(self.label)
        return label is None or int(label) == 1


def _number(text: str) -> int:
    """A number that equal texts share, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True, slots=True)
class _Query:
    """How well one query found its documents."""

    row: int
    """Its first record."""
    statistics: NDArray[np.float64]
    """Its row of the tally."""
    relevant: int
    """A record whose document fits it."""
    first: int
    """A record whose document it puts first."""


def _queries(records: Sequence[Record], answers: Sequence[Answer], fields: _Fields) -> list[_Query]:
    """Each query that counts, in order of first appearance."""
    alone = sum(record.get(fields.document) is None for record in records)
    if alone:
        raise DataError(
            f"{alone} of {len(records)} records have no {fields.document}, and no query can be measured without one. "
            f"Name its column with `fields: {{{fields.document}: COLUMN}}`."
        )
    queries: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        queries.setdefault(record[fields.query], []).append(row)
    if any(record.get(fields.label) is not None for record in records):
        among = (_among_own(rows, [fields.fits(records[row]) for row in rows], answers) for rows in queries.values())
        return [query for query in among if query is not None]
    documents: dict[str, int] = {}
    for row, record in enumerate(records):
        documents.setdefault(record[fields.document], row)
    holders = np.array(list(documents.values()), np.int64)
    places = {text: number for number, text in enumerate(documents)}
    vectors = np.array([answers[row]["vector_pair"] for row in holders], np.float32) if answers and "vector_pair" in answers[0] else None
    return [
        _among_all([places[records[row][fields.document]] for row in rows], rows[0], answers, holders, vectors) for rows in queries.values()
    ]


def _among_own(rows: Sequence[int], fits: Sequence[bool], answers: Sequence[Answer]) -> _Query | None:
    """A query that ranks the documents of its own rows, of which some fit; None where none does."""
    relevant = np.array(fits, bool)
    if not relevant.any():
        return None
    scores = np.array([answers[row]["score"] for row in rows], np.float64)
    statistics = ranking.statistics(ranking.ranks(relevant, scores), int(relevant.sum()))
    return _Query(rows[0], statistics, rows[int(relevant.argmax())], rows[int(scores.argmax())])


def _among_all(
    relevant: Sequence[int], row: int, answers: Sequence[Answer], holders: NDArray[np.int64], vectors: NDArray[np.float32] | None
) -> _Query:
    """A query that ranks all documents, by its answer's ranking or by the cosine with its vector."""
    mask = np.zeros(len(holders), bool)
    mask[relevant] = True
    if vectors is None:
        order = np.array(answers[row]["ranking"], np.int64)
        found, first = np.flatnonzero(mask[order]) + 1, int(order[0])
    else:
        scores = vectors @ np.asarray(answers[row]["vector"], np.float32)
        found, first = ranking.ranks(mask, scores), int(scores.argmax())
    statistics = ranking.statistics(found[found <= _DEPTH], int(mask.sum()))
    return _Query(row, statistics, int(holders[relevant[0]]), int(holders[first]))
