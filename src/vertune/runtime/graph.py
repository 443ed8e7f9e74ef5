"""Runs ONNX graphs in ONNX Runtime; independent of torch, texts and tasks."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from vertune.batching.batches import outputs
from vertune.core.banks import SLOTS, states
from vertune.core.errors import ModelError, StorageError
from vertune.core.kinds import Encoder
from vertune.core.machine import usable_processors
from vertune.core.records import Feature

Arrays = Mapping[str, NDArray[Any]]
_SLOW = ["SkipLayerNormFusion"]
"""Optimisations of ONNX Runtime that are switched off because they make it slower. In version 1.31, for 96 tokens of width 384, this
fused operation takes 178 µs; the separate addition and norm take 33 µs."""
TOKENS = 2048
"""Largest number of tokens, padding included, in one batch; larger batches take more memory without being faster."""


class Graph:
    """An ONNX Runtime session with one graph."""

    def __init__(self, graph: Path | bytes, threads: int | None = None) -> None:
        """Load a file or a serialised graph; raise StorageError if it can't be read or run.

        `threads` is the number of threads that compute one batch; None uses one per processor that this process may use.
        """
        self.threads = threads or usable_processors()
        source = graph if isinstance(graph, bytes) else os.fspath(graph)
        try:
            self.session = onnxruntime.InferenceSession(
                source, _options(self.threads), providers=["CPUExecutionProvider"], disabled_optimizers=_SLOW
            )
        except Exception as error:  # the only common base of ONNX Runtime's errors
            where = "The graph" if isinstance(graph, bytes) else f"{graph}"
            raise StorageError(f"{where} is not an ONNX graph that can be run: {str(error)[:300]}. Compress the model again.") from error
        last = self.session.get_outputs()[0].shape[-1]
        self.size: int | None = last if isinstance(last, int) else None
        """Number of outputs of the head; None if the graph does not declare it."""
        self.names = tuple(entry.name for entry in self.session.get_inputs())
        """Names of the graph's inputs."""

    def run(self, arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the outputs of one collated batch; raise ModelError if the graph can't process it."""
        try:
            out: NDArray[Any] = self.session.run(None, {name: arrays[name] for name in self.names})[0]
        except Exception as error:
            raise ModelError(f"The model could not compute a batch: {str(error)[:300]}. Send fewer texts, or compress it again.") from error
        return out

    def values(self, arrays: dict[str, NDArray[Any]], names: Sequence[str], mask: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return the outputs with these names for one collated batch.

        Of an output with one row per token, only the rows of tokens that are not padding are returned.
        """
        values = self.session.run(list(names), {name: arrays[name] for name in self.names})
        return {name: value[mask] if value.shape[:2] == mask.shape else value for name, value in zip(names, values, strict=True)}

    def outputs(self, encoder: Encoder, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """Return the outputs of the model's head, one float32 array per feature (model input)."""
        if len(features) == 1:  # a single feature needs no sorting and no batches
            return [np.ascontiguousarray(self.run(encoder.collate(features))[0])]
        return outputs(encoder, features, TOKENS, lambda rows, arrays: self.run(arrays))


class GraphSegment:
    """Consecutive layers of a shared base model as an ONNX graph; thread-safe."""

    def __init__(self, graph: Path, start: int | None, end: int, threads: int | None = None) -> None:
        """Load a graph file.

        The graph computes the hidden states of layer `end` from those of layer `start` or, if `start` is None, from a collated batch.
        """
        self.graph, self.start, self.end = Graph(graph, threads), start, end
        self._start = None if start is None else states(start)
        self._output = states(end)
        self._local = threading.local()

    def run(self, arrays: Arrays, given: NDArray[Any] | None, slots: NDArray[np.int64], banks: Arrays) -> NDArray[Any]:
        """Return the hidden states of layer `end`, shape (rows, tokens, width); raise ModelError if the graph can't process the batch.

        `given` are the hidden states of layer `start`. Each thread passes `banks`, the trained changes of all models, to the session
        only when they have been replaced since its last batch.
        """
        local = self._local
        if not hasattr(local, "binding"):
            local.binding, local.banks, local.held = self.graph.session.io_binding(), None, {}
        binding = local.binding
        fed = {**arrays, SLOTS: slots, **({self._start: given} if self._start else {})}
        if local.banks is not banks:
            fed, local.banks = {**banks, **fed}, banks
        try:
            for name in self.graph.names:
                if name in fed:
                    local.held[name] = np.ascontiguousarray(fed[name])  # keep a reference, because a binding has none
                    binding.bind_cpu_input(name, local.held[name])
            binding.clear_binding_outputs()
            binding.bind_output(self._output, "cpu")
            self.graph.session.run_with_iobinding(binding)
            out: NDArray[Any] = binding.get_outputs()[0].numpy()
        except Exception as error:  # the only common base of ONNX Runtime's errors
            local.banks = None
            raise ModelError(f"The model could not compute a batch: {str(error)[:300]}. Send fewer texts, or compress it again.") from error
        return out


def _options(threads: int) -> onnxruntime.SessionOptions:
    """Return session options: idle threads don't spin between calls, and no memory plan is stored for each input shape."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options
