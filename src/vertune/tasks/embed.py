"""Embeds texts as vectors whose cosine measures relevance: a bi-encoder for retrieval and FAQ search.

Query and document are encoded separately, and only their vectors are compared. Therefore, the vectors of documents can
be computed once and stored.
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
from vertune.core.profile import Guess, TableProfile
from vertune.core.records import Answer, Cleaned, Column, Feature, Record, Targets, View
from vertune.decoders import embed as decoder
from vertune.metrics import ranking
from vertune.metrics.bm25 import BM25
from vertune.metrics.words import terms
from vertune.tasks import _guess, _rows

if TYPE_CHECKING:
    import polars as pl
    import torch

_PAIRED, _UNNAMED = 0.58, 0.3
"""The score of a guess for a table with the usual names of questions and answers, and for one with two texts of other names."""
_SAME_DIRECTION = 0.999
"""Two vectors with at least this cosine count as equal."""
_DEPTH = 1000
"""Number of ranks that are evaluated in a ranking of all documents, as in TREC; lower-ranked documents count as not retrieved."""
_RELEVANT = ("1", "1.0", "true", "yes")
_IRRELEVANT = ("0", "0.0", "false", "no")


class EmbedAnswer(TypedDict, total=False):
    """The answer for one record, which is a query with or without a document: their vectors, and the cosine of the two."""

    vector: list[float]
    """The unit vector of `text`."""
    vector_pair: list[float]
    """The unit vector of `text_pair`, if the record has one."""
    score: float
    """The cosine of the two vectors."""
    ranking: list[int]
    """Only in answers of the baseline BM25, which has no vectors: the best documents for `text`, as indices into the list of the distinct
    `text_pair` of all records."""
    truncated: bool


class Embed(Task):
    """Options of the embedding task, which is trained on pairs of a query and a document."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("text", "The query."),
        Column("text_pair", "A document. Leave it out if only vectors of `text` are needed.", required=False),
        Column(
            "label",
            "1 if the document is relevant to the query, else 0. If the column is missing, all are relevant.",
            required=False,
            role="target",
            type="label",
        ),
    )
    answer: ClassVar[type[Any]] = EmbedAnswer
    decoder: ClassVar[str | None] = decoder.__name__
    gives_vectors: ClassVar[bool] = True
    whole_batch: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ranking.NAMES

    temperature: float = Field(default=0.05, gt=0)
    """Number by which the loss divides the cosines: the smaller, the more weight the hardest negatives (irrelevant documents) have."""

    @property
    def _fields(self) -> _Fields:
        """The names of the query, document and label columns."""
        query, document = self.input_columns
        return _Fields(query.name, document.name, self.target_columns[0].name)

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Check the rows: the queries and, if the data has columns for them, the documents and the labels.

        The result contains the valid rows, and the rejected rows with reasons. A row is rejected if its query or
        document is empty, or if its label is not 1 or 0 (or true or false, yes or no). Valid labels are converted to 1
        and 0.
        """
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
            reason = pl.concat_str(
                pl.lit(f"{fields.label} is "), value.fill_null("missing"), pl.lit(", but must be 1 (relevant) or 0 (not relevant)")
            )
            checks.problems.append((~label.is_in([*_RELEVANT, *_IRRELEVANT]).fill_null(False), reason))
            checks.results.append(label.is_in(_RELEVANT).cast(pl.Int64).alias(fields.label))
        return _rows.sift(frame, checks, self.name)

    def fit(self, frame: pl.DataFrame) -> Self:
        """Check that the training rows contain documents and at least one relevant one; return the task unchanged.

        A document is relevant to its query if the label of the row is 1, or if the data has no labels. Raises DataError
        if the check fails.
        """
        fields = self._fields
        _rows.target(frame, fields.document, self.name)
        if fields.label in frame.columns and not (frame[fields.label] == 1).any():
            raise DataError(
                f"No training row has the value 1 in the column '{fields.label}', but the task '{self.name}' needs pairs of a query "
                "and a relevant document. Correct the column, or leave it out if all documents are relevant."
            )
        return self

    def guess(self, table: TableProfile) -> Guess | None:
        """Return which columns contain queries and the documents that answer them; a label is read only if it is 0 or 1."""
        labels = table.targets("flags")
        relevant = max(
            (column for column in labels if column.kind == "flags"), key=lambda column: column.role("label", "number"), default=None
        )
        fields = self._fields
        read = _guess.inputs(table, relevant, [fields.query, fields.document])
        if read is None or fields.document not in read.fields:
            read = _guess.two_texts(table, [fields.query, fields.document])
        if read is None or (labels and relevant is None):
            return None
        guess = Guess(
            _PAIRED if read.pair else _UNNAMED, read.fields, {**read.reasons, "task": "two texts that belong together, without a label"}
        )
        if relevant is not None and relevant.role("label", "number") > 0.3:
            guess.fields[fields.label], guess.reasons[fields.label] = [relevant.name], relevant.description
            guess.reasons["task"] = f"two texts that belong together where '{_guess.short(relevant.name)}' is 1"
        return guess

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """Return the views (definitions of the model inputs) of a record: one for the query, and one for the document.

        The model reads each of them separately. The view of the document is left out if `columns`, the names of the
        columns of the data, does not contain the column of documents.
        """
        fields = self._fields
        query = View("query", (fields.query,))
        return (query, View("document", (fields.document,))) if fields.document in columns else (query,)

    @property
    def size(self) -> int:
        """The number of outputs of the head (last layer): 0, because it only normalises the vectors of the encoder."""
        return 0

    def head(self, width: int) -> torch.nn.Module:
        """Return a head (last layer) without weights that scales the output vectors of the encoder to unit length."""
        from vertune.nn.contrastive import Normalise

        return Normalise()

    def apply(self, states: NDArray[Any], head: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the output vectors of the encoder (`states`), scaled to unit length; the head has no weights."""
        unit: NDArray[Any] = states / np.maximum(np.linalg.norm(states, axis=-1, keepdims=True), 1e-12)
        return unit

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """Return, for each feature (model input), four int64 numbers: role, id of the query, id of the document, and label.

        The role is 0 if the feature is a query, and 1 if it is a document. The other numbers are those of the record
        that the feature was made from. The label is 1 if the document is relevant to the query, else 0. Equal texts
        have equal ids. Raises DataError if a record has no document.
        """
        fields = self._fields
        if any(record.get(fields.document) is None for record in records):
            raise DataError(
                f"A training row has no value in the column '{fields.document}', but the task '{self.name}' is trained on pairs of a query "
                "and a document. Add the document, or remove the row."
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
        """Return how often, on average, each record is drawn per epoch, so that half of the drawn records are relevant pairs.

        The loss is computed only for relevant pairs (label 1); it uses the documents of the other pairs as hard
        negatives. Returns None, which means once per record, if at least half of the records are relevant pairs
        already, or if none is.
        """
        fits = np.array([self._fields.fits(record) for record in records], bool)
        share = float(fits.mean()) if len(fits) else 1.0
        return np.where(fits, 0.5 / share, 0.5 / (1 - share)) if 0 < share < 0.5 else None

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the InfoNCE loss of each model input of a batch, shape (inputs,).

        Each query is compared with all documents of the batch, among which its relevant document must get the highest
        cosine. Documents of pairs with label 0 serve as additional hard negatives. The loss is 0 for documents, and for
        queries with label 0.
        """
        from vertune.nn.contrastive import info_nce

        return info_nce(outputs, targets, self.temperature)

    def decoder_options(self) -> dict[str, Any]:
        """Return the keyword arguments of `decode` in `vertune.decoders.embed`, which makes answers from model outputs.

        The only one is the name of the document field.
        """
        return {"document": self._fields.document}

    def agrees(self, one: Answer, other: Answer) -> bool:
        """Return whether two answers have nearly equal vectors.

        The cosine of the two query vectors must be at least 0.999. If both answers have document vectors, the cosine of
        these must be at least 0.999, too.
        """
        pairs = [(one[name], other[name]) for name in ("vector", "vector_pair") if name in one and name in other]
        return bool(pairs) and all(float(np.dot(left, right)) >= _SAME_DIRECTION for left, right in pairs)

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[np.float64]:
        """Return one row of ranking metrics for each query that has a relevant document; other queries are left out.

        If the records have labels, a query is evaluated on a ranking of the documents in its own records only.
        Otherwise, it is evaluated on a ranking of the documents of all records. The columns are those of
        `metrics.ranking.statistics`.
        """
        return np.array([query.statistics for query in _queries(records, answers, self._fields)], np.float64).reshape(
            -1, 1 + len(ranking.NAMES)
        )

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the ranking metrics, each a mean over queries; `total` is the sum of the rows that `tally` returns."""
        return ranking.summarise(total)

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """Return the queries with imperfect rankings for the evaluation report, the lowest average precision first.

        Each is shown with a relevant document and with the document that was ranked first.
        """
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
                for query in queries
                if query.statistics[1] < 1
            ]
        }

    def baselines(self, train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Answer]]:
        """Return the answers of the baseline BM25 (a keyword search), which ranks the test documents for each test query.

        The terms that BM25 counts are words or, in scripts without spaces, characters and pairs of adjacent characters.
        """
        fields = self._fields
        documents = {text: number for number, text in enumerate(dict.fromkeys(record[fields.document] for record in test))}
        index = BM25([terms(text) for text in documents])
        labelled = any(record.get(fields.label) is not None for record in test)
        cached: dict[str, NDArray[np.float64]] = {}
        answers: list[Answer] = []
        for record in test:
            query = record[fields.query]
            if query not in cached:
                cached = {query: index.scores(terms(query))}  # one entry is enough: rows of a query are mostly adjacent
            scores = cached[query]
            answer: Answer = {"score": float(scores[documents[record[fields.document]]]), "truncated": False}
            if not labelled:
                answer["ranking"] = np.argsort(-scores, kind="stable")[:_DEPTH].tolist()
            answers.append(answer)
        return {"bm25": answers}

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """Return example rows: questions about things such as tea, each with a sentence as document.

        Two adjacent rows have the same question. The sentence of the first row is relevant to it, that of the second is
        not.
        """
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
    """The names of the query, document and label fields of a record."""

    query: str
    document: str
    label: str

    def fits(self, record: Record) -> bool:
        """Return whether the document of a record is relevant to its query; without a label, it counts as relevant."""
        label = record.get(self.label)
        return label is None or int(label) == 1


def _number(text: str) -> int:
    """Return the id of a text: a non-negative hash of 63 bits, which is the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


@dataclass(frozen=True, slots=True)
class _Query:
    """The evaluation of the ranking of the documents for one query, with examples for the report."""

    row: int
    """Index of the first record with this query."""
    statistics: NDArray[np.float64]
    """The ranking metrics of the query, as `metrics.ranking.statistics` returns them."""
    relevant: int
    """Index of a record whose document is relevant."""
    first: int
    """Index of a record whose document is ranked first."""


def _queries(records: Sequence[Record], answers: Sequence[Answer], fields: _Fields) -> list[_Query]:
    """Rank the documents for each query, and compute the metrics of each ranking.

    Returns one entry per query that has a relevant document, in the order in which the queries first appear in the
    records. If the records have labels, only the documents in the query's own records are ranked, otherwise the
    documents of all records. Raises DataError if a record has no document.
    """
    missing = sum(record.get(fields.document) is None for record in records)
    if missing:
        raise DataError(
            f"{missing} of {len(records)} records have no value in the field '{fields.document}', but the metrics need a document "
            f"for each query. Name the column of the documents in the config: `data: {{fields: {{{fields.document}: COLUMN}}}}`."
        )
    queries: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        queries.setdefault(record[fields.query], []).append(row)
    if any(record.get(fields.label) is not None for record in records):
        ranked = (_among_own(rows, [fields.fits(records[row]) for row in rows], answers) for rows in queries.values())
        return [query for query in ranked if query is not None]
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
    """Rank the documents in the records of one query, and compute the metrics of the ranking.

    `rows` are the indices of the records that contain the query. `fits` contains, for each of them, whether its
    document is relevant. Returns None if none of the documents is relevant.
    """
    relevant = np.array(fits, bool)
    if not relevant.any():
        return None
    scores = np.array([answers[row]["score"] for row in rows], np.float64)
    statistics = ranking.statistics(ranking.ranks(relevant, scores), int(relevant.sum()))
    return _Query(rows[0], statistics, rows[int(relevant.argmax())], rows[int(scores.argmax())])


def _among_all(
    relevant: Sequence[int], row: int, answers: Sequence[Answer], holders: NDArray[np.int64], vectors: NDArray[np.float32] | None
) -> _Query:
    """Rank the documents of all records for one query, and compute the metrics of the ranking.

    `row` is the index of a record with the query, and of its answer. The documents are ranked by the cosine of their
    `vectors` with the vector of the query. If `vectors` is None, they are ranked as in the `ranking` of the answer.
    `relevant` are the indices of the relevant documents; `holders[i]` is the index of a record that contains document
    i.
    """
    mask = np.zeros(len(holders), bool)
    mask[relevant] = True
    if vectors is None:
        order = np.array(answers[row]["ranking"], np.int64)
        ranks, first = np.flatnonzero(mask[order]) + 1, int(order[0])
    else:
        scores = vectors @ np.asarray(answers[row]["vector"], np.float32)
        ranks, first = ranking.ranks(mask, scores), int(scores.argmax())
    statistics = ranking.statistics(ranks[ranks <= _DEPTH], int(mask.sum()))
    return _Query(row, statistics, int(holders[relevant[0]]), int(holders[first]))
