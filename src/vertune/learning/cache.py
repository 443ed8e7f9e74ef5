"""The trunk cache: hidden states of frozen layers, computed once and stored on disk; independent of tasks and methods.

The cache is the folder `cache/trunk` in the home folder (.vertune). The name of each of its subfolders is a hash of everything that
determines the states except the text: base model, tokenizer, number of frozen layers, precision, package versions. In a subfolder,
the key of an entry is a hash of the model input (a text as token ids). Truncating a text or cutting it into windows changes the
input and thereby the key, so an entry is never stale. A segment is a file of states with an index file. Both are written under a
temporary name and renamed, the index last; a segment without an index is ignored. Several training runs can use the same folder
at once; at worst, two of them compute the same states.
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
"""Size limit of the cache for `device.cache: auto`, in GB."""
_FREE_SHARE = 0.5
"""Largest fraction of the free disk space that the cache may take."""
_SEGMENT = 200_000
"""Largest number of tokens in a segment (one file of states). A killed process loses at most the segment that it was writing."""
_QUIET = 600.0
"""Seconds after its last use during which a cache folder is never deleted to make room for others."""
TRIED = 4
"""Number of model inputs on which a model is checked to return equal outputs with and without cached hidden states."""


class States:
    """The hidden states in one folder of the cache, as memory-mapped files; each entry is found by the hash of its model input."""

    def __init__(self, folder: Path, width: int, kind: type[np.generic]) -> None:
        self.folder, self.width, self.kind = folder, width, np.dtype(kind)
        self.names: list[str] = []
        self.segments: list[NDArray[Any]] = []
        self.places: dict[bytes, tuple[int, int, int]] = {}
        """Where the states for the hash of a model input are: the index of the segment (file), the first row and the number of rows."""
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def refresh(self) -> None:
        """Open the complete segments (files of hidden states) that are not open yet."""
        for index in sorted(self.folder.glob("*.npz")):
            file = index.with_suffix(".states")
            if index.stem in self.names or not file.exists():
                continue
            with np.load(index) as entries:
                keys, lengths = entries["keys"], entries["lengths"].astype(np.int64)
            rows = int(lengths.sum())
            if file.stat().st_size != rows * self.width * self.kind.itemsize:
                continue  # incomplete, for example because the disk was full
            starts = np.cumsum(lengths) - lengths
            for key, start, length in zip(keys, starts.tolist(), lengths.tolist(), strict=True):
                self.places.setdefault(key.tobytes(), (len(self.segments), start, length))
            self.names.append(index.stem)
            self.segments.append(np.memmap(file, self.kind, "r", shape=(rows, self.width)))
        os.utime(self.folder)

    def add(self, entries: Iterator[tuple[bytes, NDArray[Any]]]) -> None:
        """Write pairs of a key and its hidden states as one segment (a file and its index); readers see all of it or nothing."""
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
        """Return the index files of the segments (files of hidden states) that contain none of these keys and can be deleted."""
        used = {self.places[key][0] for key in keys if key in self.places}
        return [self.folder / f"{name}.npz" for number, name in enumerate(self.names) if number not in used]

    def read(self, place: NDArray[np.int64]) -> NDArray[Any]:
        """Return the hidden states of one entry; `place` contains the index of its segment (file), its first row and its number of rows."""
        segment, start, length = place
        states: NDArray[Any] = self.segments[segment][start : start + length]
        return states


@dataclass(slots=True)
class CachedStates:
    """The cached hidden states of a list of features (model inputs)."""

    trunk: Trunk
    states: States
    places: NDArray[np.int64]
    """Where the hidden states of each model input are: the index of the segment (file), the first row and the number of rows."""

    def batch(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the hidden states of the model inputs with these indices as a float32 tensor, padded with zeros to the longest input."""
        found = [self.states.read(self.places[row]) for row in rows]
        if self.trunk.pooled:
            return torch.from_numpy(np.concatenate(found).astype(np.float32))
        padded = np.zeros((len(found), max(map(len, found)), self.states.width), np.float32)
        for row, states in zip(padded, found, strict=True):
            row[: len(states)] = states
        return torch.from_numpy(padded)

    def of(self, rows: Sequence[int] | NDArray[np.int64]) -> list[NDArray[Any]]:
        """Return the float32 hidden states of the model inputs with these indices: one vector per input if pooled, else one per token."""
        found = [self.states.read(self.places[row]).astype(np.float32) for row in rows]
        return [states[0] for states in found] if self.trunk.pooled else found

    def given(self, rows: Sequence[int]) -> AbstractContextManager[None]:
        """Return a context in which forward passes of this batch skip the frozen layers and start from the cached hidden states."""
        device = next(self.trunk.model.parameters()).device
        return self.trunk.given(self.batch(rows).to(device))


@dataclass(slots=True)
class TrunkCache:
    """Reads the hidden states of frozen layers from the cache folder, and computes and stores missing ones."""

    folder: Path
    config: Config
    engine: Accelerator
    progress: Progress

    def recall(
        self, model: VerticalModel, depth: int, features: Sequence[Feature], below: CachedStates | None = None
    ) -> CachedStates | None:
        """Return the hidden states of these features (model inputs) that enter the layer `depth`; compute and store missing ones.

        `depth` is the number of the lowest trained layer, or the number of layers + 1 for the head. If `below` is given, it contains
        cached states of the same features that enter a lower layer, and computation starts from them. Returns None if the cache is off
        (`device.cache: 0`). If the cache can't be used, reports the event `uncached` with the reason and returns None: for example, if
        there is too little disk space, or if the layers of the base model pass more than hidden states to the next layer.
        """
        encoder = self.config.encoder
        trunk = Trunk(model, depth)
        if not self.config.device.cache or not features:
            return None
        if not trunk.works(tensors(encoder.collate(features[:TRIED]), self.engine.device)):
            self.progress("uncached", reason="the layers of this base model pass more than hidden states to the next layer")
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
            self.progress("uncached", reason=reason or "the first process of this training has too little disk space")
            return None
        self.engine.wait_for_everyone()  # all processes must have listed the same segments before any writes a new one
        if needed:
            self._compute(trunk, states, (keys, features), below)
        self.engine.wait_for_everyone()
        states.refresh()
        if any(key not in states.places for key in keys):  # too large for float16, or deleted meanwhile
            self.progress("uncached", reason="some outputs are too large for float16; set device.cache_precision: float32")
            return None
        return CachedStates(trunk, states, np.array([states.places[key] for key in keys], np.int64))

    def _kind(self, trunk: Trunk) -> type[np.generic]:
        """Return the NumPy type in which hidden states are stored."""
        precision = self.config.device.cache_precision
        if precision == "auto":
            precision = "float32" if trunk.whole else "float16"  # a linear probe is fitted on the head's inputs, which are few
        return np.float32 if precision == "float32" else np.float16

    def _key(self, trunk: Trunk, kind: type[np.generic]) -> str:
        """Return the name of the cache folder for hidden states of this kind: a hash of everything that determines them except the text."""
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
        """Delete the least recently used entries until `size` bytes can be written; return "" or, if that is impossible, the reason.

        It deletes other folders of the cache, and files of this folder that contain none of `keys`. A running training that has
        memory-mapped a deleted file can still read it.
        """
        configured = self.config.device.cache
        limit = (_GIGABYTES if configured == "auto" else configured) * 1e9
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
            f"the outputs need {size / 1e9:.2f} GB, but only {max(left, 0) / 1e9:.2f} GB are available "
            f"(device.cache allows {limit / 1e9:g} GB, at most half of the free disk space); the layers are computed in every epoch instead"
        )

    def _left(self, limit: float) -> float:
        """Return the number of bytes that may still be written to the cache; `limit` is its largest total size in bytes."""
        taken = sum(folder_size(path) for path in self.folder.iterdir())
        return min(limit - taken, _FREE_SHARE * shutil.disk_usage(self.folder).free)

    def _compute(self, trunk: Trunk, states: States, wanted: tuple[list[bytes], Sequence[Feature]], below: CachedStates | None) -> None:
        """Compute and store missing hidden states, one file (segment) after another; several processes divide the files among them."""
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
        """Compute the missing hidden states; yield each model input's key and states, except states too large for the format."""
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
    """Yield, for each cache file (segment), the indices of its model inputs; the same list of inputs is always divided the same way."""
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
    """Run the forward passes in the `with` block in the precision of training; cached hidden states replace frozen layers, if given."""
    with engine.autocast(), remembered.given(rows) if remembered else nullcontext():
        yield
