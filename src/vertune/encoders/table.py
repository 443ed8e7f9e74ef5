"""Encodes numeric and categorical fields of a record as one vector with a small residual network.

The quantile bins of numeric fields and the values of categorical fields are fitted on the training rows. There are no pretrained
weights, and text fields are not supported.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.errors import ConfigError
from vertune.core.kinds import Encoder, Pooling, Tokens
from vertune.core.records import Feature, InputType, Record, View

if TYPE_CHECKING:
    import torch

_TYPES = ("number", "category")
_UNKNOWN, _MISSING, _KNOWN = 0, 1, 2
"""The rows of a categorical field in the embedding table, in order: rare and unknown values, missing values, the first known value."""


@dataclass(frozen=True, slots=True)
class RowValues:
    """The content of one model input: its numbers (NaN if missing), and the index of each categorical value in the embedding table."""

    numbers: NDArray[np.float64]
    categories: NDArray[np.int64]


class Table(Encoder):
    """Encoder of numeric and categorical fields; the attributes below are its options."""

    types: ClassVar[frozenset[InputType]] = frozenset({"number", "category"})
    pretrained: ClassVar[bool] = False

    width: int = Field(default=128, ge=4, le=4096)
    """Size of the output vector, which the last layer of the task reads."""
    layers: int = Field(default=2, ge=1, le=64)
    """Number of residual layers."""
    embedding: int = Field(default=16, ge=1, le=1024)
    """Size of the embedding of each field."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Dropout rate: the share of the inner activations of a layer that a training step sets to zero."""
    max_bins: int = Field(default=32, ge=2, le=1024)
    """Maximum number of quantile bins per numeric field."""
    min_count: int = Field(default=5, ge=1)
    """Minimum number of training rows with a categorical value; all rarer values share one embedding, also used for unknown values."""
    seed: int = Field(default=0, ge=0)
    """Seed of the initial weights."""
    bins: dict[str, list[float]] = Field(default={})
    """The bin edges of each numeric field; fitted on the training rows, so leave it empty."""
    categories: dict[str, list[str]] = Field(default={})
    """The known values of each categorical field; fitted on the training rows, so leave it empty."""

    @property
    def is_resolved(self) -> bool:
        """Whether the bins of numeric fields or the known values of categorical fields have been computed from training rows."""
        return bool(self.bins or self.categories)

    def resolve(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> Self:
        """Return a copy with the bins of numeric fields and the known values of categorical fields, computed from these records.

        An encoder that has bins or known values already is returned unchanged. Raise ConfigError if the task needs several model inputs
        per record, or a field that is neither a number nor a category.
        """
        if len(views) != 1:
            raise ConfigError(
                f"The encoder 'table' makes one vector per record, but this task needs {len(views)} vectors per record. "
                "Choose a task such as classify, multilabel or regress, or encoder: text."
            )
        types = dict(zip(views[0].fields, views[0].types or ("text",) * len(views[0].fields), strict=True))
        for name, kind in types.items():
            if kind not in _TYPES:
                raise ConfigError(
                    f"The encoder 'table' reads numbers and categories, but the field '{name}' is of type {kind}. "
                    f"Declare its type, such as `task: {{inputs: {{{name}: category}}}}`, or choose encoder: text."
                )
        if self.is_resolved:
            return self
        bins = {name: _quantile_edges(_numbers(records, name), self.max_bins) for name, kind in types.items() if kind == "number"}
        counts = {name: Counter(_words(records, name)) for name, kind in types.items() if kind == "category"}
        known = {name: sorted(word for word, count in found.items() if word and count >= self.min_count) for name, found in counts.items()}
        return self.model_copy(update={"bins": bins, "categories": known})

    def encode(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> list[Feature]:
        """Return one model input per record; a missing number becomes NaN, and a missing category has a separate embedding."""
        if not self.is_resolved:
            raise ConfigError(
                "The encoder 'table' has no bins or categories yet, because it was not fitted. "
                "Train a model, or call the encoder's method resolve with training records."
            )
        numbers = np.empty((len(records), len(self.bins)))
        for column, name in enumerate(self.bins):
            numbers[:, column] = _numbers(records, name)
        rows = np.empty((len(records), len(self.categories)), np.int64)
        for column, (name, places) in enumerate(self._rows.items()):
            rows[:, column] = [places.get(word, places[None]) for word in _words(records, name)]
        role = views[0].role
        return [Feature(row, role, 1, RowValues(numbers[row], rows[row])) for row in range(len(records))]

    @cached_property
    def _rows(self) -> dict[str, dict[str | None, int]]:
        """For each categorical field, a mapping from each known value to the index of its row in the embedding table.

        The key "" is for a missing value, and the key None for a rare or unknown value.
        """
        found: dict[str, dict[str | None, int]] = {}
        start = 0
        for name, words in self.categories.items():
            found[name] = {None: start + _UNKNOWN, "": start + _MISSING}
            found[name] |= {word: start + _KNOWN + place for place, word in enumerate(words)}
            start += _KNOWN + len(words)
        return found

    @cached_property
    def _edges(self) -> NDArray[np.float64]:
        """Lower edges [0] and widths [1] of all bins, shape (2, numeric fields, bins); missing bins have infinite lower edges."""
        size = max((len(edges) - 1 for edges in self.bins.values()), default=0)
        found = np.stack([np.full((len(self.bins), size), np.inf), np.ones((len(self.bins), size))])
        for row, edges in enumerate(self.bins.values()):
            found[0, row, : len(edges) - 1], found[1, row, : len(edges) - 1] = edges[:-1], np.diff(edges)
        return found

    def collate(self, features: Sequence[Feature]) -> dict[str, NDArray[Any]]:
        """Return `numbers`, float32 of shape (rows, numeric fields, bins + 1), and `categories`, int64 of shape (rows, categorical fields).

        A number becomes one value per bin: the fraction of the bin that lies below the number, from 0 to 1 (piecewise linear encoding,
        Gorishniy et al. 2022). The last value is 1 if the number is missing, else 0; for a missing number, all other values are 0.
        """
        numbers = np.stack([feature.payload.numbers for feature in features])
        low, width = self._edges
        missing = np.isnan(numbers)[:, :, None]
        filled = np.where(missing, 0.0, (np.nan_to_num(numbers)[:, :, None] - low) / width)
        shares = np.concatenate([np.clip(filled, 0.0, 1.0), missing], axis=2).astype(np.float32)
        return {"numbers": shares, "categories": np.stack([feature.payload.categories for feature in features])}

    def content(self, feature: Feature) -> bytes:
        """Return the numbers and categories of a model input as bytes; inputs with equal bytes have equal outputs."""
        payload: RowValues = feature.payload
        return payload.numbers.tobytes() + payload.categories.tobytes()

    def probe(self, costs: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return a batch of artificial rows, with which the model is exported or timed; all their categories are unknown values.

        The batch has one row for each item of `costs`; the values of `costs` have no effect.
        """
        shape = (len(costs), len(self.bins), self._edges.shape[2] + 1)
        unknown = np.array([places[None] for places in self._rows.values()], np.int64)
        return {"numbers": np.full(shape, 0.5, np.float32), "categories": np.tile(unknown, (len(costs), 1))}

    def model(self) -> torch.nn.Module:
        """Return the network with its initial weights, which depend only on the options and the fitted fields."""
        import torch

        from vertune.encoders._table_model import TableBackbone, TableConfig, TableSizes
        from vertune.nn.inputs import declare

        sizes = TableSizes(len(self.bins), self._edges.shape[2] + 1, len(self.categories), sum(map(len, self._rows.values())))
        backbone = TableBackbone(sizes, TableConfig(self.width, self.layers), self.embedding, self.dropout)
        backbone.load_state_dict({name: torch.from_numpy(array) for name, array in self._first_weights()})
        return declare(backbone, self)

    def _first_weights(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yield the name and array of each initial weight; weights are drawn with NumPy, so that they can be hashed without torch."""
        random = np.random.default_rng(self.seed)
        fields, inner = len(self.bins) + len(self.categories), 2 * self.width

        def uniform(*shape: int, inputs: int) -> NDArray[np.float32]:
            bound = 1 / math.sqrt(max(1, inputs))
            return random.uniform(-bound, bound, shape).astype(np.float32)

        if self.bins:
            size = self._edges.shape[2] + 1
            yield "fields.weight", uniform(len(self.bins), size, self.embedding, inputs=size // 2)
            yield "fields.bias", uniform(len(self.bins), self.embedding, inputs=size // 2)
        if self.categories:
            table = uniform(sum(map(len, self._rows.values())), self.embedding, inputs=self.embedding)
            yield "fields.table.weight", table
        yield "input.weight", uniform(self.width, fields * self.embedding, inputs=fields * self.embedding)
        yield "input.bias", uniform(self.width, inputs=fields * self.embedding)
        for layer in range(self.layers):
            yield from _norm(f"layers.{layer}.norm", self.width)
            for name, out, into in (("up", inner, self.width), ("down", self.width, inner)):
                yield f"layers.{layer}.{name}.weight", uniform(out, into, inputs=into)
                yield f"layers.{layer}.{name}.bias", uniform(out, inputs=into)
        yield from _norm("norm", self.width)

    def pooling_of(self, states: str) -> Pooling:
        """Return `mean`, which leaves the single vector of a record unchanged; raise ConfigError if the task needs token vectors."""
        if states == "tokens":
            raise ConfigError(
                "The encoder 'table' makes one vector per record, but this task needs one per token. "
                "Choose a task such as classify, multilabel or regress, or encoder: text."
            )
        return "mean"

    def fingerprint(self) -> dict[str, str]:
        """Return the sha256 hex digests of the initial weights (`base`) and of the fitted bins and categories (`fields`)."""
        weights = hashlib.sha256()
        for name, array in self._first_weights():
            weights.update(name.encode() + array.tobytes())
        return {"base": weights.hexdigest(), "fields": hashlib.sha256(json.dumps([self.bins, self.categories]).encode()).hexdigest()}


def _norm(name: str, width: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    yield f"{name}.weight", np.ones(width, np.float32)
    yield f"{name}.bias", np.zeros(width, np.float32)


def _numbers(records: Sequence[Record], name: str) -> NDArray[np.float64]:
    """Return one field of all records as floats, NaN if missing."""
    values = (record.get(name) for record in records)
    return np.array([np.nan if value is None or value == "" else float(value) for value in values], np.float64)


def _words(records: Sequence[Record], name: str) -> list[str]:
    """Return one field of all records as strings, empty if missing."""
    values = (record.get(name) for record in records)
    return ["" if value is None else str(value) for value in values]


def _quantile_edges(values: NDArray[np.float64], most: int) -> list[float]:
    """Return the edges of at most `most` bins with about equally many values each; one bin of width 1 if all values are equal."""
    values = values[np.isfinite(values)]
    if not len(values):
        return [0.0, 1.0]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, most + 1)))
    return [float(edges[0]), float(edges[0]) + 1.0] if len(edges) < 2 else edges.tolist()
