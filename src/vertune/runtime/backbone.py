"""One backbone in memory that many verticals share, with common batches; independent of texts, predictions and HTTP.

A vertical is a model for one task; its trained changes are stored in one slot of the banks (core/banks.py). A batch contains one
row per text at first. A row is split into one row per requested vertical only at the lowest layer that the vertical changes, so
the layers below run once per text.
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
"""Initial number of slots, doubled whenever all are in use. A slot that was never written takes address space but no memory."""
START, END = -1, 1 << 30
"""Special values of `Slot.begin`: START is before the embeddings; END means that the vertical changes no layer, only the head."""

Arrays = Mapping[str, NDArray[Any]]


class Banks:
    """The banks of one backbone, and the list of their free slots; slot 0 changes nothing."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = dict(shapes)
        self.arrays = {name: _allocate((_SLOTS, *shape)) for name, shape in self.shapes.items()}
        """The banks by name. The mapping is replaced when the banks grow, so that a running batch continues with the old arrays."""
        for name, array in self.arrays.items():
            write(array[0], name, None)
        self.fronts = [name for name in self.shapes if kind(name) in POSITIONS]
        """Names of the banks that add positions before a text; a batch reads only as many positions as its verticals need."""
        self._free = list(range(_SLOTS - 1, 0, -1))
        self._lock = threading.Lock()

    def put(self, rows: BankRows) -> int:
        """Write a vertical's changes (its rows of the banks) into a free slot; return the number of the slot."""
        with self._lock:
            if not self._free:
                self._grow()
            slot = self._free.pop()
            for name, array in self.arrays.items():
                write(array[slot], name, rows.get(name))
            return slot

    def free(self, slot: int) -> None:
        """Release a slot for another vertical; call it only when no batch reads the slot any more."""
        self._free.append(slot)

    def _grow(self) -> None:
        """Double the number of slots."""
        before = len(next(iter(self.arrays.values()), (None,) * _SLOTS))
        grown = {}
        for name, array in self.arrays.items():
            grown[name] = _allocate((2 * before, *array.shape[1:]))
            grown[name][:before] = array
        self.arrays = grown
        self._free = list(range(2 * before - 1, before - 1, -1))


def _allocate(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Allocate an array in its own memory pages, which take memory when first written and are returned to the system with the array.

    On the heap, banks that grow leave holes: a third of their size with a hundred verticals.
    """
    return np.frombuffer(mmap.mmap(-1, max(1, math.prod(shape)) * 4), np.float32, math.prod(shape)).reshape(shape)


class Segment(Protocol):
    """Consecutive layers of a backbone that run together."""

    end: int
    """Depth of the states that it returns: they enter the layer above this depth."""

    def run(self, arrays: Arrays, states: NDArray[Any] | None, slots: NDArray[np.int64], banks: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the states at `end`.

        `arrays` is a collated batch, `states` are the states that enter the segment (None at the embeddings), `slots` has the slot
        number of each row.
        """
        ...


@dataclass(eq=False, slots=True, weakref_slot=True)
class Slot:
    """One vertical on a backbone. Its slot in the banks stays reserved as long as this object is referenced."""

    begin: int
    """Depth from which the vertical's states differ from the backbone's, so that it needs its own rows; or START or END."""
    task: Task
    pooling: Pooling
    head: dict[str, NDArray[Any]]
    slot: int = 0
    """Number of the slot in the banks."""
    positions: int = 0
    """Number of trained positions that are put before a text."""
    top: tuple[Segment, ...] = ()
    """The vertical's own layers from `begin` upwards, if it replaces layers of the backbone."""


@dataclass(slots=True)
class _Batch:
    """The rows between two segments.

    Each row belongs to an item (a text). Its place is the vertical it is for, or None if it is for all verticals of the item that
    have no row of their own yet.
    """

    items: list[int]
    places: list[Slot | None]
    states: NDArray[Any] | None = None

    def slots(self) -> NDArray[np.int64]:
        """Return the slot number of each row."""
        return np.array([place.slot if place else 0 for place in self.places], np.int64)


@dataclass(eq=False, slots=True, weakref_slot=True)
class Backbone:
    """The segments of a base, from the embeddings to the last layer, and the banks that they read."""

    encoder: Encoder
    segments: Sequence[Segment]
    banks: Banks
    precision: str

    @property
    def cuts(self) -> tuple[int, ...]:
        """The depths at which rows can be split by vertical."""
        return (START, *(segment.end for segment in self.segments[:-1]))

    def add(self, rows: BankRows, place: Slot) -> Slot:
        """Add a vertical and return its `place`. Its rows get a slot, which is released when `place` is no longer referenced."""
        place.begin = place.begin if place.begin == END else max(cut for cut in self.cuts if cut <= place.begin)
        if rows:
            place.slot = self.banks.put(rows)
            place.positions = max((len(array) for name, array in rows.items() if kind(name) == "open"), default=0)
            weakref.finalize(place, self.banks.free, place.slot)
        return place

    def compute(self, payloads: Sequence[tuple[Feature, Sequence[Slot]]]) -> list[list[NDArray[Any]]]:
        """Return the head's outputs of each feature for each of its verticals; outputs per token have as many rows as the feature."""
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
        """Return the outputs of many features for one vertical, computed in batches of similar lengths."""
        from vertune.batching.batches import by_tokens

        costs = np.array([feature.cost for feature in features], np.int64)
        results: list[NDArray[Any]] = [np.empty(0, np.float32)] * len(features)
        for rows in by_tokens(np.argsort(-costs, kind="stable"), costs, tokens):
            for row, outputs in zip(rows, self.compute([(features[row], (place,)) for row in rows]), strict=True):
                results[row] = outputs[0]
        return results

    def _segment_inputs(self, batch: _Batch, arrays: Arrays, front: int) -> tuple[Arrays, NDArray[Any] | None, NDArray[np.int64], Arrays]:
        """Return the inputs of a segment: arrays and states of each row, slots, and banks; banks of positions are cut to `front`."""
        slots = batch.slots()
        same = batch.items == list(range(len(next(iter(arrays.values())))))
        taken = arrays if same else {name: array[batch.items] for name, array in arrays.items()}
        banks = self.banks.arrays
        fronts = {name: banks[name][slots, banks[name].shape[1] - front :] for name in self.banks.fronts}
        return taken, batch.states, slots, {**banks, **fronts} if fronts else banks

    def _run_replaced(self, batch: _Batch, arrays: Arrays, own: list[_Batch], front: int) -> _Batch:
        """Run the rows of verticals that replace the layers from here on, append them to `own`, and return the batch without them."""
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
    """Return these rows of the states, without a copy if they are all rows in order."""
    return None if states is None else states if rows == list(range(len(states))) else states[rows]


def _split(batch: _Batch, here: int, waiting: list[list[Slot]], plain: list[bool]) -> _Batch:
    """Give each vertical whose changes begin at the depth `here` its own row; an item's common row stays while any vertical needs it."""
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
    """Apply each vertical's head to the last states of all its rows at once; `own` are the batches that `_run_replaced` took out."""
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
    """Return the inputs of a head, pooled as in nn/vertical.py: per token, of the first token, or their mean."""
    if pooling == "tokens":
        return states
    if pooling == "cls":
        return states[:, 0]
    weights = mask.astype(np.float32)
    pooled: NDArray[Any] = np.matmul(weights[:, None], states)[:, 0] / np.maximum(weights.sum(1), 1)[:, None]
    return pooled
