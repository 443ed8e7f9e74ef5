"""Limits the memory of training passes: measures what one pass takes, and how many model inputs fit; independent of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vertune.core import machine
from vertune.core.config import Config
from vertune.core.errors import StorageError, is_out_of_memory
from vertune.nn.vertical import VerticalModel

_AUTO = 4e9
"""Memory of a whole training for `device.memory: auto` on a CPU, in bytes."""
_SHARE = 0.8
"""Largest fraction of the memory that this process may use, or that a GPU has, for `device.memory: auto`."""
_PROCESS = 0.7e9
"""Bytes that Python, torch, transformers and a data set of some ten thousand texts take."""
_COPIES = 4
"""Copies of the trained weights during training: their gradients, the two moments of AdamW, and the best weights."""
_OVERHEAD = 1.8
"""Peak memory of a forward and backward pass, relative to the tensors that the forward pass keeps for the backward pass. The rest are
temporary results, and gaps that the allocator can't use; measured with MiniLM on batches of 64 to 512 tokens per text."""
_LEAST = 0.1
"""Smallest fraction of the memory that passes may use, if the weights alone take almost all of it."""
_ROWS = 256
"""Largest number of model inputs in one pass."""


def limit(config: Config, device: torch.device) -> float:
    """Return the number of bytes that a training may take.

    It is the memory of the GPU if the model is trained on one, else that of the process.
    """
    if config.device.memory != "auto":
        return config.device.memory * 1e9
    if device.type == "cuda":
        return _SHARE * torch.cuda.get_device_properties(device).total_memory
    return min(_AUTO, _SHARE * machine.memory_limit())


def _weights(model: VerticalModel) -> float:
    """Return the bytes that the weights of a model take in training, with the copies of those that are trained."""
    sizes = ((item.numel() * item.element_size(), item.requires_grad) for item in model.parameters())
    return float(sum(size * (1 + _COPIES * trained) for size, trained in sizes))


@dataclass(frozen=True, slots=True)
class PassMemory:
    """What the forward pass of one model input keeps for the backward pass: a polynomial in its number of tokens, without a constant."""

    linear: float
    """Bytes per token."""
    quadratic: float
    """Bytes per pair of tokens, for attention."""
    fixed: float
    """Bytes that are taken before a pass starts: by the process, and by the weights with their gradients and moments."""
    allowed: float
    """Bytes that the whole training may take."""

    def bytes_of(self, tokens: int) -> float:
        """Return the bytes that one model input of this many tokens, padding included, needs."""
        return tokens * (self.linear + tokens * self.quadratic)

    def rows(self, tokens: int) -> int:
        """Return how many model inputs of this many tokens fit in one pass: at least 1, at most 256."""
        available = max(_LEAST * self.allowed, self.allowed - self.fixed) / _OVERHEAD
        return max(1, min(_ROWS, int(available / max(1.0, self.bytes_of(tokens)))))

    def holds(self, batches: Sequence[Sequence[int]], costs: NDArray[np.int64]) -> bool:
        """Return whether what the forward passes of all these batches keep fits in memory at the same time."""
        kept = sum(len(batch) * self.bytes_of(int(costs[list(batch)].max())) for batch in batches)
        return self.fixed + _OVERHEAD * kept <= self.allowed

    def peak(self, batches: Sequence[Sequence[int]], costs: NDArray[np.int64]) -> float:
        """Estimate the peak memory of training on these batches, in bytes; `costs` is the number of tokens of each model input."""
        return self.fixed + _OVERHEAD * max((len(batch) * self.bytes_of(int(costs[list(batch)].max())) for batch in batches), default=0.0)


def measure(model: VerticalModel, config: Config, costs: NDArray[np.int64], run: Callable[[int], torch.Tensor]) -> PassMemory:
    """Measure what a forward pass keeps for the backward pass, with the longest model input and one about half as long.

    `run` computes the outputs of the model, in the mode of training, for the model input with an index. Random numbers are not used up.
    """
    longest = int(costs.argmax())
    shorter = int(np.abs(costs - costs[longest] / 2).argmin())
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        (most, converted), (less, _) = _kept(model, run, longest), _kept(model, run, shorter)
    long, short = max(1, int(costs[longest])), max(1, int(costs[shorter]))
    quadratic = max(0.0, (most / long - less / short) / (long - short)) if long > short else 0.0
    allowed, fixed = limit(config, device), _PROCESS * (device.type == "cpu") + _weights(model) + converted
    return PassMemory(most / long - long * quadratic, quadratic, fixed, allowed)


def _kept(model: VerticalModel, run: Callable[[int], torch.Tensor], feature: int) -> tuple[float, float]:
    """Return the bytes that the forward pass of one model input keeps for the backward pass, and those of converted weights.

    With lower precision, a pass keeps a converted copy of each matrix of weights, however many model inputs it has.
    """
    ours = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    shapes = {(parameter.dtype, *sorted(parameter.shape)) for parameter in model.parameters() if parameter.dim() > 1}
    kept: dict[int, int] = {}
    converted: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in ours:
            copy = tensor.dtype != torch.float32 and (torch.float32, *sorted(tensor.shape)) in shapes
            (converted if copy else kept)[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = run(feature)
    del outputs
    return float(sum(kept.values())), float(sum(converted.values()))


@contextmanager
def told(what: str, config: Config) -> Iterator[None]:
    """If the `with` block runs out of memory, raise StorageError with advice; `what` is the operation, such as `Training`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200] or "no memory is left"
        raise StorageError(
            f"{what} ran out of memory: {reason}. It must keep to device.memory (now {config.device.memory}) and needs that much free "
            "memory. Close other programs, or set device.memory (in GB), device.tokens, training.batch or encoder.max_tokens to less."
        ) from error


def give_back() -> None:
    """Return freed memory to the operating system, where the C library can do this (glibc)."""
    trim: Any = machine.c_function("malloc_trim")
    if trim is not None:
        trim(0)
