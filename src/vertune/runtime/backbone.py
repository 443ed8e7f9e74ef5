"""One base model in memory that many fine-tuned models share, also within one batch; independent of texts, predictions and HTTP.

Arrays called banks (core/banks.py) contain the trained changes of all these fine-tuned models; the index of one model in the banks is
its slot. Several models may have to be run on the same text. In the lowest layers, a batch has one row per text, which all models
share. At the lowest layer that a model changes, the batch gets an additional row for this text and this model. So the layers below
are computed once per text instead of once per model.
"""

from __future__ import annotations

import math
import mmap
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vertune.core.banks import POSITIONS, BankRows, Shapes, kind, write
from vertune.core.kinds import Encoder, Pooling, Task
from vertune.core.records import Feature

_SLOTS = 64
"""Initial number of slots (a fine-tuned model takes one), doubled when all are in use; a slot never written takes no memory."""
START, END = -1, 1 << 30
"""Special values of `Slot.begin`: START means that a model already changes the embeddings, END that it changes only the head."""

Arrays = Mapping[str, NDArray[Any]]


class Banks:
    """Arrays (banks) that contain the trained changes of all fine-tuned models on one base model.

    Each model has one index (slot) of the first dimension. Slot 0 belongs to no model; it contains values that change nothing.
    """

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = dict(shapes)
        self.arrays = {name: _allocate((_SLOTS, *shape)) for name, shape in self.shapes.items()}
        """The arrays by name. The mapping is replaced when the arrays grow, so that a running batch continues with the old ones."""
        for name, array in self.arrays.items():
            write(array[0], name, None)
        self.fronts = [name for name in self.shapes if kind(name) in POSITIONS]
        """Names of the arrays of trained vectors that are put before a text; a batch reads only as many vectors as its models need."""
        self._free = list(range(_SLOTS - 1, 0, -1))
        self._lock = threading.Lock()

    def put(self, rows: BankRows) -> int:
        """Write the trained changes of a model (`rows`, arrays by bank name) at a free index (slot) of the banks; return the index."""
        with self._lock:
            if not self._free:
                self._grow()
            slot = self._free.pop()
            for name, array in self.arrays.items():
                write(array[slot], name, rows.get(name))
            return slot

    def free(self, slot: int) -> None:
        """Release a slot (index in the banks), so that another model can use it; call this only when no running batch reads the slot."""
        self._free.append(slot)

    def _grow(self) -> None:
        """Double the number of slots (indices, one per model) by copying the banks into larger arrays."""
        before = len(next(iter(self.arrays.values()), (None,) * _SLOTS))
        grown = {}
        for name, array in self.arrays.items():
            grown[name] = _allocate((2 * before, *array.shape[1:]))
            grown[name][:before] = array
        self.arrays = grown
        self._free = list(range(2 * before - 1, before - 1, -1))


def _allocate(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Allocate an array of zeros in memory pages of its own, outside the heap.

    A page takes memory only after it was written, and all pages return to the system when the array is deleted. On the heap, arrays
    that are replaced by larger ones would leave unused gaps: with a hundred models, a third of the size of the arrays.
    """
    return np.frombuffer(mmap.mmap(-1, max(1, math.prod(shape)) * 4), np.float32, math.prod(shape)).reshape(shape)


class Segment(Protocol):
    """Consecutive layers of a shared base model (backbone) that are computed in one call."""

    end: int
    """Depth (layer number) at which the segment ends; the hidden states that it returns enter the next layer."""

    def run(self, arrays: Arrays, states: NDArray[Any] | None, slots: NDArray[np.int64], banks: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the hidden states after the last layer of this segment.

        `arrays` is a collated batch; `states` are the hidden states that enter the segment, None if it begins with the embedding layer;
        `slots` contains, for each row of the batch, the index of its model in the banks (arrays of trained changes).
        """
        ...


@dataclass(eq=False, slots=True, weakref_slot=True)
class Slot:
    """One fine-tuned model that uses a shared base model.

    Its index in the banks (arrays of trained changes) is reserved as long as this object is referenced.
    """

    begin: int
    """Layer from which the model's hidden states differ from the base model's, so that it needs its own rows; or START or END."""
    task: Task
    pooling: Pooling
    head: dict[str, NDArray[Any]]
    slot: int = 0
    """Index of the model in the banks (arrays of trained changes)."""
    positions: int = 0
    """Number of trained vectors that are put before a text."""
    top: tuple[Segment, ...] = ()
    """The model's own layers from `begin` upwards, if it does not use those of the shared base model."""


@dataclass(slots=True)
class _Batch:
    """The rows of a batch between two segments (groups of consecutive layers), with their hidden states.

    For each row, `items` contains the index of its text, and `places` contains the fine-tuned model for which the row is computed. If
    this is None, the row is the common row of the text: it is used by all models that have no row of their own yet for this text.
    """

    items: list[int]
    places: list[Slot | None]
    states: NDArray[Any] | None = None

    def slots(self) -> NDArray[np.int64]:
        """Return, for each row, the index of its model in the banks (arrays of trained changes); 0 for common rows."""
        return np.array([place.slot if place else 0 for place in self.places], np.int64)


@dataclass(eq=False, slots=True, weakref_slot=True)
class Backbone:
    """A base model in memory, from the embeddings to the last layer, with the trained changes of all fine-tuned models that share it."""

    encoder: Encoder
    segments: Sequence[Segment]
    banks: Banks
    precision: str

    @property
    def cuts(self) -> tuple[int, ...]:
        """The layer numbers at which a model can get rows of its own.

        These are START (before the embeddings) and the ends of all segments except the last.
        """
        return (START, *(segment.end for segment in self.segments[:-1]))

    def add(self, rows: BankRows, place: Slot) -> Slot:
        """Add the fine-tuned model `place`, whose trained changes are `rows` (arrays by bank name); return `place`.

        `place.begin` is set to the nearest layer, at or below it, at which a model can get rows of its own. The changes are removed
        from memory when `place` is no longer referenced.
        """
        place.begin = place.begin if place.begin == END else max(cut for cut in self.cuts if cut <= place.begin)
        if rows:
            place.slot = self.banks.put(rows)
            place.positions = max((len(array) for name, array in rows.items() if kind(name) == "open"), default=0)
            weakref.finalize(place, self.banks.free, place.slot)
        return place

    def compute(self, payloads: Sequence[tuple[Feature, Sequence[Slot]]]) -> list[list[NDArray[Any]]]:
        """Compute one batch; each payload is a feature (model input) with the fine-tuned models that must run on it.

        Returns, for each payload, one array per model, in the order of the models: the outputs of the model's head. If the head has
        one output vector per token, the array has one row for each token of the feature.
        """
        arrays = self.encoder.collate([feature for feature, _ in payloads])
        front = max((place.positions for _, places in payloads for place in places), default=0)
        waiting = [[place for place in places if place.begin != END] for _, places in payloads]
        plain = [len(own) < len(places) for own, (_, places) in zip(waiting, payloads, strict=True)]
        batch = _Batch(list(range(len(payloads))), [None] * len(payloads))
        own: list[_Batch] = []
        batch = _split(batch, START, waiting, plain)
        for segment in self.segments:
            batch = self._run_replaced(batch, arrays, own, front)
            if batch.items:
                batch.states = segment.run(*self._segment_inputs(batch, arrays, front))
                batch = _split(batch, segment.end, waiting, plain)
        return _apply_heads(payloads, batch, own, self.encoder.mask(arrays))

    def outputs(self, encoder: Encoder, features: Sequence[Feature], place: Slot, tokens: int = 2048) -> list[NDArray[Any]]:
        """Return one model's outputs for many features (model inputs), computed in batches of similar lengths.

        `place` is the model; `tokens` is the maximum number of tokens of one batch, padding included.
        """
        from vertune.batching.batches import by_tokens

        costs = np.array([feature.cost for feature in features], np.int64)
        results: list[NDArray[Any]] = [np.empty(0, np.float32)] * len(features)
        for rows in by_tokens(np.argsort(-costs, kind="stable"), costs, tokens):
            for row, outputs in zip(rows, self.compute([(features[row], (place,)) for row in rows]), strict=True):
                results[row] = outputs[0]
        return results

    def _segment_inputs(self, batch: _Batch, arrays: Arrays, front: int) -> tuple[Arrays, NDArray[Any] | None, NDArray[np.int64], Arrays]:
        """Return the arguments with which `Segment.run` computes the next layers of this batch.

        Some models put trained vectors before a text. The banks (arrays) of these vectors are reduced to the rows of this batch and
        to the last `front` vectors, the largest number that a model of the batch needs.
        """
        slots = batch.slots()
        same = batch.items == list(range(len(next(iter(arrays.values())))))
        taken = arrays if same else {name: array[batch.items] for name, array in arrays.items()}
        banks = self.banks.arrays
        fronts = {name: banks[name][slots, banks[name].shape[1] - front :] for name in self.banks.fronts}
        return taken, batch.states, slots, {**banks, **fronts} if fronts else banks

    def _run_replaced(self, batch: _Batch, arrays: Arrays, own: list[_Batch], front: int) -> _Batch:
        """Compute the rows of those models that, from this layer upwards, use layers of their own instead of the base model's.

        Appends one batch with the final hidden states of each such model to `own`; returns a batch with the rows of the other models.
        `front` is the number of positions that were inserted before each text for other models; the models' own layers don't read
        them.
        """
        tops = {place for place in batch.places if place and place.top}
        for top in tops:
            rows = [row for row, place in enumerate(batch.places) if place is top]
            items = [batch.items[row] for row in rows]
            taken = {name: array[items] for name, array in arrays.items()}
            states = None if batch.states is None else batch.states[rows, front:]  # without the positions for other models
            for segment in top.top:
                states = segment.run(taken, states, np.zeros(len(rows), np.int64), {})
            own.append(_Batch(items, [top] * len(rows), states))
        if not tops:
            return batch
        kept = [row for row, place in enumerate(batch.places) if place not in tops]
        return _Batch([batch.items[row] for row in kept], [batch.places[row] for row in kept], _select(batch.states, kept))


def _select(states: NDArray[Any] | None, rows: list[int]) -> NDArray[Any] | None:
    """Return the hidden states of these rows; None stays None.

    If `rows` lists all rows in order, `states` itself is returned, without a copy.
    """
    return None if states is None else states if rows == list(range(len(states))) else states[rows]


def _split(batch: _Batch, here: int, waiting: list[list[Slot]], plain: list[bool]) -> _Batch:
    """Return a batch with an additional row for each model whose changes begin at the layer with the number `here`.

    `waiting` lists, for each text, the models that have no row of their own yet; those that get one are removed from it. The common
    row of a text is kept while models wait. It is also kept if `plain` is true for the text: then a model that changes only the head
    reads this row.
    """
    rows: list[int] = []
    places: list[Slot | None] = []
    for row, (item, place) in enumerate(zip(batch.items, batch.places, strict=True)):
        begun = [one for one in waiting[item] if one.begin == here] if place is None else [place]
        if place is None and begun:
            waiting[item] = [one for one in waiting[item] if one.begin != here]
        rows += [row] * len(begun)
        places += begun
        if place is None and (waiting[item] or plain[item]):
            rows.append(row)
            places.append(None)
    return _Batch([batch.items[row] for row in rows], places, _select(batch.states, rows))


def _apply_heads(
    payloads: Sequence[tuple[Feature, Sequence[Slot]]], batch: _Batch, own: Sequence[_Batch], mask: NDArray[np.bool_]
) -> list[list[NDArray[Any]]]:
    """Apply the head of each model to the final hidden states of the model's rows.

    Returns, for each payload, one array of outputs per requested model. `own` contains the batches of the models that have layers of
    their own; `_run_replaced` has computed these. `mask` is true for tokens that are not padding.
    """
    results: dict[tuple[int, Slot], NDArray[Any]] = {}
    for part in (batch, *own):
        rows_of: dict[Slot, list[int]] = {}
        for row, (item, owner) in enumerate(zip(part.items, part.places, strict=True)):
            for place in (owner,) if owner else [one for one in payloads[item][1] if one.begin == END]:
                rows_of.setdefault(place, []).append(row)
        pools: dict[Pooling, NDArray[Any]] = {}
        for place, rows in rows_of.items():
            if place.pooling not in pools:
                assert part.states is not None
                pools[place.pooling] = _pool(part.states, mask[part.items], place.pooling)
            pooled = pools[place.pooling]
            read = pooled if len(rows) == len(pooled) else pooled[rows]
            for row, outputs in zip(rows, place.task.apply(read, place.head), strict=True):
                item = part.items[row]
                results[item, place] = outputs[: payloads[item][0].positions] if outputs.ndim > 1 else outputs
    return [[results[item, place] for place in places] for item, (_, places) in enumerate(payloads)]


def _pool(states: NDArray[Any], mask: NDArray[np.bool_], pooling: Pooling) -> NDArray[Any]:
    """Return the values that a head reads: hidden states, pooled in the same way as in training (nn/vertical.py).

    `states` has the shape (rows, tokens, width). For the pooling `tokens` it is returned unchanged. Otherwise, the result has the
    shape (rows, width): for `cls` the state of the first token, else the mean over the tokens that are not padding.
    """
    if pooling == "tokens":
        return states
    if pooling == "cls":
        return states[:, 0]
    weights = mask.astype(np.float32)
    pooled: NDArray[Any] = np.matmul(weights[:, None], states)[:, 0] / np.maximum(weights.sum(1), 1)[:, None]
    return pooled
