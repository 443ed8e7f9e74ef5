"""One backbone in memory under many verticals, whose requests share its batches; knows nothing of texts, answers or HTTP.

A sequence passes the layers below its vertical's first change once, however many verticals are asked; from there on each
vertical has a row of its own, which reads the vertical's slot in the banks (core/banks.py).
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
"""Slots that banks begin with, and are doubled from: one that nobody wrote takes addresses and no memory."""
START, END = -1, 1 << 30
"""Where a vertical's own rows begin: before the embeddings; nowhere, because only its head is its own."""

Arrays = Mapping[str, NDArray[Any]]


class Banks:
    """The banks of one backbone, with the slots that are in use; slot 0 changes nothing."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = dict(shapes)
        self.arrays = {name: _mapped((_SLOTS, *shape)) for name, shape in self.shapes.items()}
        """Replaced as a whole when they grow, so that a batch keeps those that it began with."""
        for name, array in self.arrays.items():
            write(array[0], name, None)
        self.fronts = [name for name in self.shapes if kind(name) in POSITIONS]
        """The banks that add positions; a batch takes of them what it needs."""
        self._free = list(range(_SLOTS - 1, 0, -1))
        self._lock = threading.Lock()

    def put(self, rows: BankRows) -> int:
        """The slot that now holds these rows."""
        with self._lock:
            if not self._free:
                self._grow()
            slot = self._free.pop()
            for name, array in self.arrays.items():
                write(array[slot], name, rows.get(name))
            return slot

    def free(self, slot: int) -> None:
        """Let another vertical have the slot; only when no batch reads it any more."""
        self._free.append(slot)

    def _grow(self) -> None:
        before = len(next(iter(self.arrays.values()), (None,) * _SLOTS))
        grown = {}
        for name, array in self.arrays.items():
            grown[name] = _mapped((2 * before, *array.shape[1:]))
            grown[name][:before] = array
        self.arrays = grown
        self._free = list(range(2 * before - 1, before - 1, -1))


def _mapped(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An array in pages of its own, which take memory when they are first written and give it back with the array.

    A heap would keep holes where banks grew: a third of their size, with a hundred verticals.
    """
    return np.frombuffer(mmap.mmap(-1, max(1, math.prod(shape)) * 4), np.float32, math.prod(shape)).reshape(shape)


class Segment(Protocol):
    """Some layers that run one after the other."""

    end: int
    """Which states it gives: those that enter the layer above this depth."""

    def run(self, arrays: Arrays, states: NDArray[Any] | None, slots: NDArray[np.int64], banks: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """The states at its end; `arrays` are a collated batch, `states` those at its beginning, None at the embeddings."""
        ...


@dataclass(eq=False, slots=True, weakref_slot=True)
class Slot:
    """One vertical's place on a backbone; it keeps its slot as long as anybody holds it."""

    begin: int
    """The states from which on its rows are its own; START or END too."""
    task: Task
    pooling: Pooling
    head: dict[str, NDArray[Any]]
    slot: int = 0
    positions: int = 0
    """How many positions it puts before a text."""
    top: tuple[Segment, ...] = ()
    """Layers of its own from `begin` on, where it replaces them."""


@dataclass(slots=True)
class _Batch:
    """Rows on their way up: each belongs to an item, and to one place or still to all of the item's."""

    items: list[int]
    places: list[Slot | None]
    states: NDArray[Any] | None = None

    def slots(self) -> NDArray[np.int64]:
        return np.array([place.slot if place else 0 for place in self.places], np.int64)


@dataclass(eq=False, slots=True, weakref_slot=True)
class Backbone:
    """Segments, from the embeddings to the last states, and the banks that they read."""

    encoder: Encoder
    segments: Sequence[Segment]
    banks: Banks
    precision: str

    @property
    def cuts(self) -> tuple[int, ...]:
        """The states at which rows can part."""
        return (START, *(segment.end for segment in self.segments[:-1]))

    def add(self, rows: BankRows, place: Slot) -> Slot:
        """Give a vertical a slot, where it changes anything; the slot is free again when nobody holds the place."""
        place.begin = place.begin if place.begin == END else max(cut for cut in self.cuts if cut <= place.begin)
        if rows:
            place.slot = self.banks.put(rows)
            place.positions = max((len(array) for name, array in rows.items() if kind(name) == "open"), default=0)
            weakref.finalize(place, self.banks.free, place.slot)
        return place

    def compute(self, payloads: Sequence[tuple[Feature, Sequence[Slot]]]) -> list[list[NDArray[Any]]]:
        """The head's outputs of each feature for each of its places; those of one row a token as long as the feature."""
        arrays = self.encoder.collate([feature for feature, _ in payloads])
        front = max((place.positions for _, places in payloads for place in places), default=0)
        waiting = [[place for place in places if place.begin != END] for _, places in payloads]
        plain = [len(own) < len(places) for own, (_, places) in zip(waiting, payloads, strict=True)]
        batch = _Batch(list(range(len(payloads))), [None] * len(payloads))
        own: list[_Batch] = []
        batch = _parted(batch, START, waiting, plain)
        for segment in self.segments:
            batch = self._apart(batch, arrays, own, front)
            if batch.items:
                batch.states = segment.run(*self._fed(batch, arrays, front))
                batch = _parted(batch, segment.end, waiting, plain)
        return _answered(payloads, batch, own, self.encoder.mask(arrays))

    def outputs(self, encoder: Encoder, features: Sequence[Feature], place: Slot, tokens: int = 2048) -> list[NDArray[Any]]:
        """The outputs of many features for one place, in batches of near lengths."""
        from vertune.batching.batches import by_tokens

        costs = np.array([feature.cost for feature in features], np.int64)
        found: list[NDArray[Any]] = [np.empty(0, np.float32)] * len(features)
        for rows in by_tokens(np.argsort(-costs, kind="stable"), costs, tokens):
            for row, outputs in zip(rows, self.compute([(features[row], (place,)) for row in rows]), strict=True):
                found[row] = outputs[0]
        return found

    def _fed(self, batch: _Batch, arrays: Arrays, front: int) -> tuple[Arrays, NDArray[Any] | None, NDArray[np.int64], Arrays]:
        """What a segment takes: arrays and states a row, slots, and banks; those of positions as long as the batch needs them."""
        slots = batch.slots()
        same = batch.items == list(range(len(next(iter(arrays.values())))))
        taken = arrays if same else {name: array[batch.items] for name, array in arrays.items()}
        banks = self.banks.arrays
        fronts = {name: banks[name][slots, banks[name].shape[1] - front :] for name in self.banks.fronts}
        return taken, batch.states, slots, {**banks, **fronts} if fronts else banks

    def _apart(self, batch: _Batch, arrays: Arrays, own: list[_Batch], front: int) -> _Batch:
        """Run the rows of verticals that have layers of their own from here on, and take them out of the batch."""
        tops = {place for place in batch.places if place and place.top}
        for top in tops:
            rows = [row for row, place in enumerate(batch.places) if place is top]
            items = [batch.items[row] for row in rows]
            taken = {name: array[items] for name, array in arrays.items()}
            states = None if batch.states is None else batch.states[rows, front:]  # its layers know nothing of others' positions
            for segment in top.top:
                states = segment.run(taken, states, np.zeros(len(rows), np.int64), {})
            own.append(_Batch(items, [top] * len(rows), states))
        if not tops:
            return batch
        kept = [row for row, place in enumerate(batch.places) if place not in tops]
        return _Batch([batch.items[row] for row in kept], [batch.places[row] for row in kept], _taken(batch.states, kept))


def _taken(states: NDArray[Any] | None, rows: list[int]) -> NDArray[Any] | None:
    return None if states is None else states if rows == list(range(len(states))) else states[rows]


def _parted(batch: _Batch, here: int, waiting: list[list[Slot]], plain: list[bool]) -> _Batch:
    """The batch with a row of its own for each place whose changes begin here; an item's common row stays while any needs it."""
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
    return _Batch([batch.items[row] for row in rows], places, _taken(batch.states, rows))


def _answered(
    payloads: Sequence[tuple[Feature, Sequence[Slot]]], batch: _Batch, own: Sequence[_Batch], mask: NDArray[np.bool_]
) -> list[list[NDArray[Any]]]:
    """Heads on the last states, all rows of a place at once; `own` are the rows that ended in layers of a place's own."""
    found: dict[tuple[int, Slot], NDArray[Any]] = {}
    for part in (batch, *own):
        asked: dict[Slot, list[int]] = {}
        for row, (item, owner) in enumerate(zip(part.items, part.places, strict=True)):
            for place in (owner,) if owner else [one for one in payloads[item][1] if one.begin == END]:
                asked.setdefault(place, []).append(row)
        pools: dict[Pooling, NDArray[Any]] = {}
        for place, rows in asked.items():
            if place.pooling not in pools:
                assert part.states is not None
                pools[place.pooling] = _pooled(part.states, mask[part.items], place.pooling)
            pooled = pools[place.pooling]
            read = pooled if len(rows) == len(pooled) else pooled[rows]
            for row, outputs in zip(rows, place.task.apply(read, place.head), strict=True):
                item = part.items[row]
                found[item, place] = outputs[: payloads[item][0].positions] if outputs.ndim > 1 else outputs
    return [[found[item, place] for place in places] for item, (_, places) in enumerate(payloads)]


def _pooled(states: NDArray[Any], mask: NDArray[np.bool_], pooling: Pooling) -> NDArray[Any]:
    """What a head reads, as nn/vertical.py has it."""
    if pooling == "tokens":
        return states
    if pooling == "cls":
        return states[:, 0]
    weights = mask.astype(np.float32)
    pooled: NDArray[Any] = np.matmul(weights[:, None], states)[:, 0] / np.maximum(weights.sum(1), 1)[:, None]
    return pooled
