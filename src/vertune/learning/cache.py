"""The trunk cache: hidden states of frozen layers (the trunk), computed once and stored on disk; independent of tasks and methods.

The cache is the folder `cache/trunk` in the folder `.vertune`. Each of its subfolders is for one combination of base
model, tokenizer, number of frozen layers, precision and package versions; its name is a hash of these. In a subfolder,
the states of a text are found by a hash of its token ids. A text that is truncated in another way has other token ids,
so states are never outdated. Several training runs can use the same subfolder at once; at worst, two of them compute
the same states.

A segment is a file with the states of many texts, and an index file. Both are written under a temporary name and then
renamed, the index last. A segment without an index is incomplete and is ignored.
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
from functools import cache
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
    """The hidden states in one subfolder of the cache, as memory-mapped files; each entry is found by a hash of its model input."""

    def __init__(self, folder: Path, width: int, kind: type[np.generic]) -> None:
        self.folder, self.width, self.kind = folder, width, np.dtype(kind)
        self.names: list[str] = []
        self.segments: list[NDArray[Any]] = []
        self.places: dict[bytes, tuple[int, int, int]] = {}
        """Where the states for the hash of a model input are: the index of the segment (file), the first row and the number of rows."""
        with storage_errors(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def refresh(self) -> None:
        """Open the segments (files of hidden states) that were completed since the last call, by this or another process."""
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
        """Write hidden states as one new segment, which is a file and its index.

        `entries` are pairs of the hash of a model input and its states. Other processes read either the complete
        segment or nothing of it.
        """
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
        """Return the segments (files of hidden states) that may be deleted, each by the path of its index file.

        They contain no states of the model inputs whose hashes are `keys`.
        """
        used = {self.places[key][0] for key in keys if key in self.places}
        return [self.folder / f"{name}.npz" for number, name in enumerate(self.names) if number not in used]

    def read(self, place: NDArray[np.int64]) -> NDArray[Any]:
        """Return the hidden states of one model input, shape (rows, width).

        `place` contains the index of the segment (file) with these states, and the first row and the number of rows in
        that file.
        """
        segment, start, length = place
        states: NDArray[Any] = self.segments[segment][start : start + length]
        return states


@dataclass(slots=True)
class CachedStates:
    """The cached hidden states of a list of features (model inputs), which are identified by their indices in this list."""

    trunk: Trunk
    states: States
    places: NDArray[np.int64]
    """Where the hidden states of each model input are: the index of the segment (file), the first row and the number of rows."""

    def batch(self, rows: Sequence[int]) -> torch.Tensor:
        """Return the cached hidden states of the model inputs with the indices `rows`, as one float32 tensor.

        If one pooled vector per input is cached, the shape is (inputs, width), else (inputs, tokens, width). Shorter
        inputs are padded with zeros.
        """
        found = [self.states.read(self.places[row]) for row in rows]
        if self.trunk.pooled:
            return torch.from_numpy(np.concatenate(found).astype(np.float32))
        padded = np.zeros((len(found), max(map(len, found)), self.states.width), np.float32)
        for row, states in zip(padded, found, strict=True):
            row[: len(states)] = states
        return torch.from_numpy(padded)

    def of(self, rows: Sequence[int] | NDArray[np.int64]) -> list[NDArray[Any]]:
        """Return the cached hidden states of the model inputs with the indices `rows`: one float32 array per input.

        If one pooled vector per input is cached, the array is this vector. Otherwise it has the shape (tokens, width).
        """
        found = [self.states.read(self.places[row]).astype(np.float32) for row in rows]
        return [states[0] for states in found] if self.trunk.pooled else found

    def given(self, rows: Sequence[int]) -> AbstractContextManager[None]:
        """Return a context in which forward passes of one batch skip the frozen layers and start from cached hidden states.

        `rows` contains the indices of the model inputs of this batch.
        """
        device = next(self.trunk.model.parameters()).device
        return self.trunk.given(self.batch(rows).to(device))


@dataclass(slots=True)
class TrunkCache:
    """Reads the hidden states of frozen layers from the cache on disk; computes and stores those that are missing."""

    folder: Path
    config: Config
    engine: Accelerator
    progress: Progress

    def recall(
        self, model: VerticalModel, depth: int, features: Sequence[Feature], below: CachedStates | None = None
    ) -> CachedStates | None:
        """Return the hidden states of `features` (model inputs) that enter the layer `depth`; compute and store missing ones.

        `depth` is the number of the lowest trained layer, from 1; for the head, it is the number of layers + 1. If
        `below` is given, it contains cached states of the same features that enter a lower layer, and the computation
        starts from them. Returns None if the cache is off (`device.cache: 0`). If the cache can't be used, returns None
        too, and reports the event `uncached` with the reason, such as too little disk space, or a base model whose
        layers pass more than hidden states to the next layer.
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
        """Return the NumPy type (float16 or float32) in which hidden states are stored.

        With `device.cache_precision: auto`, it is float32 if only the head is trained, else float16.
        """
        precision = self.config.device.cache_precision
        if precision == "auto":
            precision = "float32" if trunk.whole else "float16"  # a linear probe is fitted on the head's inputs, which are few
        return np.float32 if precision == "float32" else np.float16

    def _key(self, trunk: Trunk, kind: type[np.generic]) -> str:
        """Return the name of the cache's subfolder for the outputs of `trunk`, stored as the NumPy type `kind`.

        The name is a hash of everything that determines the states, except the text.
        """
        parts = {
            **self.config.encoder.fingerprint(),
            "depth": trunk.depth,
            "pooling": trunk.model.pooling if trunk.whole else "",
            "kind": np.dtype(kind).name,
            "precision": self.engine.mixed_precision,
            **_versions(),
        }
        return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()[:32]

    def _room(self, states: States, keys: Sequence[bytes], size: int) -> str:
        """Ensure that `size` bytes can be written to the cache; return "" or, if that is impossible, the reason.

        `states` is the subfolder to write to. If necessary, other subfolders are deleted, and files in this one that
        contain no states of `keys` (hashes of model inputs). The oldest are deleted first; what was used or written in
        the last 10 minutes is kept. A training run that has already memory-mapped a deleted file can still read it.
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
        """Return the number of bytes that may still be written to the cache.

        `limit` is the largest total size of the cache in bytes. At most half of the free disk space may be used.
        """
        taken = sum(folder_size(path) for path in self.folder.iterdir())
        return min(limit - taken, _FREE_SHARE * shutil.disk_usage(self.folder).free)

    def _compute(self, trunk: Trunk, states: States, wanted: tuple[list[bytes], Sequence[Feature]], below: CachedStates | None) -> None:
        """Compute and store the hidden states that are missing in the cache, one segment (file) after another.

        `wanted` is a pair: the keys (hashes) of all model inputs, and the inputs. Several processes divide the segments
        among them.
        """
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
        """Compute the missing hidden states of one segment (file); yield pairs of a model input's key (hash) and its states.

        `wanted` contains the indices of the missing inputs, the keys of all inputs, and all inputs. An input is skipped
        if its states are too large for the number format in which they are stored (float16).
        """
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


@cache
def _versions() -> dict[str, str]:
    """Return the versions of the packages that determine hidden states; to read them takes as long as to find states."""
    return {name: metadata.version(name) for name in ("torch", "transformers")}


def _segments(features: Sequence[Feature]) -> Iterator[list[int]]:
    """Divide model inputs into segments (one cache file each) of at most 200,000 tokens; yield the input indices of each.

    The same list of inputs is always divided in the same way, in every process.
    """
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
    """While the `with` block runs, compute forward passes in the precision of training.

    If `remembered` is given, the frozen layers are skipped: its cached hidden states of the model inputs with the
    indices `rows` are used instead.
    """
    with engine.autocast(), remembered.given(rows) if remembered else nullcontext():
        yield
