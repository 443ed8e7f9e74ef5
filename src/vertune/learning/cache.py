"""The trunk cache: states of the layers that nothing trains, computed once and kept on disk; knows nothing of tasks or methods.

States lie in `cache/trunk` of the home, in a folder named by the hash of all that makes them but the sequence: base,
tokenizer, depth, precision, versions. In it a state is found by the hash of what the model reads of a feature, so records,
truncation and windows need no key of their own: what reads otherwise is another feature, new records are only added, and
nothing can be stale. A segment is a file of states and an index, each written beside and renamed, the index last; a
segment without its index does not exist. Trainings may share a folder: at worst two compute the same states.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from vertune.batching.batches import collated
from vertune.core.artifact import Progress
from vertune.core.config import Config
from vertune.core.files import folder_size, storage_errors
from vertune.core.records import Feature
from vertune.learning import team
from vertune.nn.run import tensors
from vertune.nn.trunk import Trunk
from vertune.nn.vertical import VerticalModel

if TYPE_CHECKING:
    from accelerate import Accelerator

_GIGABYTES = 10.0
"""What `device.cache: auto` allows."""
_FREE_SHARE = 0.5
"""Share of the free disk that is taken at most."""
_SEGMENT = 200_000
"""Tokens of one segment: what a kill can lose."""
_QUIET = 600.0
"""Seconds after its last use in which a folder is not removed to make room."""
TRIED = 4
"""Features on which a base is tried: whether its answers from given states are its own."""


class States:
    """States by the hash of their feature, in a folder of segments that are mapped into memory."""

    def __init__(self, folder: Path, width: int, kind: type[np.generic]) -> None:
        self.folder, self.width, self.kind = folder, width, np.dtype(kind)
        self.names: list[str] = []
        self.segments: list[NDArray[Any]] = []
        self.places: dict[bytes, tuple[int, int, int]] = {}
        """Segment, first row and rows of each feature's states."""
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def refresh(self) -> None:
        """Take in the segments that are whole and not known yet."""
        for index in sorted(self.folder.glob("*.npz")):
            file = index.with_suffix(".states")
            if index.stem in self.names or not file.exists():
                continue
            with np.load(index) as entries:
                keys, lengths = entries["keys"], entries["lengths"].astype(np.int64)
            rows = int(lengths.sum())
            if file.stat().st_size != rows * self.width * self.kind.itemsize:
                continue  # cut short by a full disk or by hand
            starts = np.cumsum(lengths) - lengths
            for key, start, length in zip(keys, starts.tolist(), lengths.tolist(), strict=True):
                self.places.setdefault(key.tobytes(), (len(self.segments), start, length))
            self.names.append(index.stem)
            self.segments.append(np.memmap(file, self.kind, "r", shape=(rows, self.width)))
        os.utime(self.folder)

    def add(self, entries: Iterator[tuple[bytes, NDArray[Any]]]) -> None:
        """Write one segment; what does not come to its end leaves nothing that looks whole."""
        name = secrets.token_hex(8)
        beside = self.folder / f".{name}"
        keys, lengths = [], []
        with storage_errors(self.folder):
            try:
                with beside.open("wb") as file:
                    for key, states in entries:
                        keys.append(np.frombuffer(key, np.uint8))
                        lengths.append(len(states))
                        file.write(np.ascontiguousarray(states, self.kind).tobytes())
                    file.flush()
                    os.fsync(file.fileno())
                if keys:
                    beside.rename(self.folder / f"{name}.states")
                    with beside.open("wb") as file:
                        np.savez(file, keys=np.stack(keys), lengths=np.array(lengths, np.int32))
                    beside.rename(self.folder / f"{name}.npz")
            finally:
                beside.unlink(missing_ok=True)

    def spare(self, keys: Sequence[bytes]) -> list[Path]:
        """The indices of segments that hold none of these."""
        used = {self.places[key][0] for key in keys if key in self.places}
        return [self.folder / f"{name}.npz" for number, name in enumerate(self.names) if number not in used]

    def read(self, place: NDArray[np.int64]) -> NDArray[Any]:
        """The states at one place."""
        segment, start, length = place
        found: NDArray[Any] = self.segments[segment][start : start + length]
        return found


@dataclass(slots=True)
class CachedStates:
    """The states of a list of features, ready to be given to the model that they are of."""

    trunk: Trunk
    states: States
    places: NDArray[np.int64]
    """Of each feature: segment, first row, rows."""

    def batch(self, rows: Sequence[int]) -> torch.Tensor:
        """The states of a batch, float32, padded with zeros to the longest feature."""
        found = [self.states.read(self.places[row]) for row in rows]
        if self.trunk.pooled:
            return torch.from_numpy(np.concatenate(found).astype(np.float32))
        padded = np.zeros((len(found), max(map(len, found)), self.states.width), np.float32)
        for row, states in zip(padded, found, strict=True):
            row[: len(states)] = states
        return torch.from_numpy(padded)

    def of(self, rows: Sequence[int] | NDArray[np.int64]) -> list[NDArray[Any]]:
        """The states of each of these features, float32: one, or one a token."""
        found = [self.states.read(self.places[row]).astype(np.float32) for row in rows]
        return [states[0] for states in found] if self.trunk.pooled else found

    def given(self, rows: Sequence[int]) -> AbstractContextManager[None]:
        """Forward passes of the batch of these features start from their states."""
        device = next(self.trunk.model.parameters()).device
        return self.trunk.given(self.batch(rows).to(device))


@dataclass(slots=True)
class TrunkCache:
    """Where states are remembered, and how they are computed."""

    folder: Path
    config: Config
    engine: Accelerator
    progress: Progress

    def recall(
        self, model: VerticalModel, depth: int, features: Sequence[Feature], below: CachedStates | None = None
    ) -> CachedStates | None:
        """States of these features at the depth of the lowest stage that moves, those that are new computed first.

        `below` are states of the same features further down, to start from. None, with an event that says why, where
        nothing is remembered: `device.cache: 0`, a disk that is too small, a base whose layers hand on more than states.
        """
        encoder = self.config.encoder
        trunk = Trunk(model, depth)
        if not self.config.device.cache or not features:
            return None
        if not trunk.works(tensors(encoder.collate(features[:TRIED]), self.engine.device)):
            self.progress("uncached", reason="the layers of this base hand on more than their states")
            return None
        kind = self._kind(trunk)
        states = States(self.folder / self._key(trunk, kind), model.width, kind)
        states.refresh()
        keys = [hashlib.blake2b(encoder.content(feature), digest_size=16).digest() for feature in features]
        counts = {key: 1 if trunk.pooled else feature.positions for key, feature in zip(keys, features, strict=True)}
        needed = {key: count for key, count in counts.items() if key not in states.places}
        size = sum(needed.values()) * model.width * np.dtype(kind).itemsize
        reason = self._room(states, keys, size)
        if team.leader_value(self.engine, bool(reason)):
            self.progress("uncached", reason=reason or "the first process has no room for them")
            return None
        self.engine.wait_for_everyone()  # each process has seen the same segments before any writes a new one
        if needed:
            self._compute(trunk, states, (keys, features), below)
        self.engine.wait_for_everyone()
        states.refresh()
        if any(key not in states.places for key in keys):  # float16 could not hold them, or someone removed them meanwhile
            self.progress("uncached", reason="states are larger than float16 holds; set device.cache_precision: float32")
            return None
        return CachedStates(trunk, states, np.array([states.places[key] for key in keys], np.int64))

    def _kind(self, trunk: Trunk) -> type[np.generic]:
        said = self.config.device.cache_precision
        if said == "auto":
            said = "float32" if trunk.whole else "float16"  # what only the head reads is little, and a convex problem is solved on it
        return np.float32 if said == "float32" else np.float16

    def _key(self, trunk: Trunk, kind: type[np.generic]) -> str:
        """Name of the folder of these states."""
        parts = {
            **self.config.encoder.fingerprint(),
            "depth": trunk.depth,
            "pooling": trunk.model.pooling if trunk.whole else "",
            "kind": np.dtype(kind).name,
            "precision": self.engine.mixed_precision,
            **{name: metadata.version(name) for name in ("torch", "transformers")},
        }
        return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()[:32]

    def _room(self, states: States, keys: Sequence[bytes], size: int) -> str:
        """Make room for so many bytes, what is longest unused first; the reason where that can't be done.

        Other folders may go, and segments of this one that hold nothing of what is wanted; what is mapped stays readable.
        """
        said = self.config.device.cache
        limit = (_GIGABYTES if said == "auto" else said) * 1e9
        others = [path for path in self.folder.iterdir() if path != states.folder]
        for path in sorted([*others, *states.spare(keys)], key=lambda path: path.stat().st_mtime):
            if size <= self._left(limit):
                break
            if time.time() - path.stat().st_mtime < _QUIET:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
                path.with_suffix(".states").unlink(missing_ok=True)
        left = self._left(limit)
        if size <= left:
            return ""
        return (
            f"they would take {size / 1e9:.2f} GB, and {max(left, 0) / 1e9:.2f} are left "
            f"(device.cache allows {limit / 1e9:g} GB, and half of the free disk); the layers are computed in every pass instead"
        )

    def _left(self, limit: float) -> float:
        """Bytes that may still be written."""
        taken = sum(folder_size(path) for path in self.folder.iterdir())
        return min(limit - taken, _FREE_SHARE * shutil.disk_usage(self.folder).free)

    def _compute(self, trunk: Trunk, states: States, wanted: tuple[list[bytes], Sequence[Feature]], below: CachedStates | None) -> None:
        """Compute what is missing, one segment after another; several processes take turns at the segments."""
        keys, features = wanted
        done = 0
        for number, rows in enumerate(_segments(features)):
            missing = list({keys[row]: row for row in rows if keys[row] not in states.places}.values())
            done += len(rows)
            if not missing or number % self.engine.num_processes != self.engine.process_index:
                continue
            states.add(self._passes(trunk, states, (missing, keys, features), below))
            self.progress("remembered", step=done, steps=len(features))

    def _passes(
        self, trunk: Trunk, states: States, wanted: tuple[list[int], list[bytes], Sequence[Feature]], below: CachedStates | None
    ) -> Iterator[tuple[bytes, NDArray[Any]]]:
        """Key and states of each feature; one whose states the kind of number can't hold is left out."""
        missing, keys, features = wanted
        encoder = self.config.encoder
        chosen = [features[row] for row in missing]
        for places, arrays in collated(encoder, chosen, self.config.device.tokens):
            inputs = tensors(arrays, self.engine.device)
            with torch.no_grad(), around(self.engine, below, [missing[place] for place in places]):
                found = trunk.run(inputs).float().cpu().numpy()
            for place, entry in zip(places, found, strict=True):
                with np.errstate(over="ignore"):
                    value = (entry[None] if trunk.pooled else entry[: chosen[place].positions]).astype(states.kind)
                if np.isfinite(value).all():
                    yield keys[missing[place]], value


def _segments(features: Sequence[Feature]) -> Iterator[list[int]]:
    """Rows of one segment after another; the cut depends on the features alone, so that a killed pass is repeated as it was."""
    rows: list[int] = []
    tokens = 0
    for row, feature in enumerate(features):
        if rows and tokens + feature.cost > _SEGMENT:
            yield rows
            rows, tokens = [], 0
        rows.append(row)
        tokens += feature.cost
    if rows:
        yield rows


@contextmanager
def around(engine: Accelerator, remembered: CachedStates | None, rows: Sequence[int]) -> Iterator[None]:
    """A forward pass in training's precision, from remembered states where there are some."""
    with engine.autocast(), remembered.given(rows) if remembered else nullcontext():
        yield
