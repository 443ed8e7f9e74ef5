"""One base model in memory that many fine-tuned models share, with common batches; independent of texts, predictions and HTTP.

The trained changes of each fine-tuned model are stored at one index (its slot) of arrays that all of them share, the banks
(core/banks.py). At first, a batch contains one row per text. A fine-tuned model gets a row of its own for the text only at the lowest
layer that it changes, so the layers below run once per text.
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
    """Arrays (banks) with the trained changes of all models on one base model, one index (slot) per model; slot 0 changes nothing."""

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
        """Write the trained changes of a model at a free index (slot) of the arrays; return the index."""
        with self._lock:
            if not self._free:
                self._grow()
            slot = self._free.pop()
            for name, array in self.arrays.items():
                write(array[slot], name, rows.get(name))
            return slot

    def free(self, slot: int) -> None:
        """Release a slot, so that another model can use it; call this only when no running batch reads the slot."""
        self._free.append(slot)

    def _grow(self) -> None:
        """Double the number of slots (models that fit into the arrays) by copying the arrays into larger ones."""
        before = len(next(iter(self.arrays.values()), (None,) * _SLOTS))
        grown = {}
        for name, array in self.arrays.items():
            grown[name] = _allocate((2 * before, *array.shape[1:]))
            grown[name][:before] = array
        self.arrays = grown
        self._free = list(range(2 * before - 1, before - 1, -1))


def _allocate(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Allocate an array in memory pages of its own, which take memory only once written and return to the system with the array.

    On the heap, growing arrays would leave unused holes: a third of their size with a hundred models.
    """
    return np.frombuffer(mmap.mmap(-1, max(1, math.prod(shape)) * 4), np.float32, math.prod(shape)).reshape(shape)


class Segment(Protocol):
    """Consecutive layers of a backbone (a shared base model) that run together."""

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
    """One fine-tuned model on a shared base model; its index in the banks is reserved as long as this object is referenced."""

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
    """The rows of a batch between two segments (groups of layers).

    `items` contains the index of the text of each row, `places` the fine-tuned model that the row is for. None in `places` marks the
    common row of a text, for all models that have no row of their own yet.
    """

    items: list[int]
    places: list[Slot | None]
    states: NDArray[Any] | None = None

    def slots(self) -> NDArray[np.int64]:
        """Return, for each row, the index of its model in the banks (arrays of trained changes); 0 for common rows."""
        return np.array([place.slot if place else 0 for place in self.places], np.int64)


@dataclass(eq=False, slots=True, weakref_slot=True)
class Backbone:
    """A base model in memory, from the embeddings to the last layer, with the trained changes of all models that share it."""

    encoder: Encoder
    segments: Sequence[Segment]
    banks: Banks
    precision: str

    @property
    def cuts(self) -> tuple[int, ...]:
        """The depths (layer numbers) at which the common row of a text can be split into one row per model."""
        return (START, *(segment.end for segment in self.segments[:-1]))

    def add(self, rows: BankRows, place: Slot) -> Slot:
        """Add a model with the trained changes `rows`; return its `place`. The changes are removed when `place` is no longer referenced."""
        place.begin = place.begin if place.begin == END else max(cut for cut in self.cuts if cut <= place.begin)
        if rows:
            place.slot = self.banks.put(rows)
            place.positions = max((len(array) for name, array in rows.items() if kind(name) == "open"), default=0)
            weakref.finalize(place, self.banks.free, place.slot)
        return place

    def compute(self, payloads: Sequence[tuple[Feature, Sequence[Slot]]]) -> list[list[NDArray[Any]]]:
        """Return, for each feature (model input), one array per model that is requested for it: the outputs of the model's head.

        If a head has one output vector per token, its array has one row for each token of the feature.
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
        """Return one model's outputs for many features (model inputs), computed in batches of similar lengths."""
        from vertune.batching.batches import by_tokens

        costs = np.array([feature.cost for feature in features], np.int64)
        results: list[NDArray[Any]] = [np.empty(0, np.float32)] * len(features)
        for rows in by_tokens(np.argsort(-costs, kind="stable"), costs, tokens):
            for row, outputs in zip(rows, self.compute([(features[row], (place,)) for row in rows]), strict=True):
                results[row] = outputs[0]
        return results

    def _segment_inputs(self, batch: _Batch, arrays: Arrays, front: int) -> tuple[Arrays, NDArray[Any] | None, NDArray[np.int64], Arrays]:
        """Return the arguments of `Segment.run`.

        Of the trained vectors that a model puts before a text, only the last `front` are included.
        """
        slots = batch.slots()
        same = batch.items == list(range(len(next(iter(arrays.values())))))
        taken = arrays if same else {name: array[batch.items] for name, array in arrays.items()}
        banks = self.banks.arrays
        fronts = {name: banks[name][slots, banks[name].shape[1] - front :] for name in self.banks.fronts}
        return taken, batch.states, slots, {**banks, **fronts} if fronts else banks

    def _run_replaced(self, batch: _Batch, arrays: Arrays, own: list[_Batch], front: int) -> _Batch:
        """Run the rows of the models that replace all layers from this depth upwards by layers of their own.

        Appends a batch with the result of each such model to `own`; returns a batch with the rows of the other models.
        """
        tops = {place for place in batch.places if place and place.top}
        for top in tops:
            rows = [row for row, place in enumerate(batch.places) if place is top]
            items = [batch.items[row] for row in rows]
            taken = {name: array[items] for name, array in arrays.items()}
            states = None if batch.states is None else batch.states[rows, front:]  # without the positions of other verticals
            for segment in top.top:
                states = segment.run(taken, states, np.zeros(len(rows), np.int64), {})
            own.append(_Batch(items, [top] * len(rows), states))
        if not tops:
            return batch
        kept = [row for row, place in enumerate(batch.places) if place not in tops]
        return _Batch([batch.items[row] for row in kept], [batch.places[row] for row in kept], _select(batch.states, kept))


def _select(states: NDArray[Any] | None, rows: list[int]) -> NDArray[Any] | None:
    """Return these rows of the hidden states; avoid a copy if they are all rows in order."""
    return None if states is None else states if rows == list(range(len(states))) else states[rows]


def _split(batch: _Batch, here: int, waiting: list[list[Slot]], plain: list[bool]) -> _Batch:
    """Add a row for each model whose changes begin at the layer `here`; keep the common row of a text while other models need it."""
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
    """Apply each model's head to the final hidden states of the model's rows.

    `own` contains the batches of the models with layers of their own, which `_run_replaced` computes separately.
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
    """Return the inputs of a head, calculated as in nn/vertical.py.

    Depending on `pooling`, these are the hidden states of all tokens, that of the first token, or the mean over the tokens.
    """
    if pooling == "tokens":
        return states
    if pooling == "cls":
        return states[:, 0]
    weights = mask.astype(np.float32)
    pooled: NDArray[Any] = np.matmul(weights[:, None], states)[:, 0] / np.maximum(weights.sum(1), 1)[:, None]
    return pooled
