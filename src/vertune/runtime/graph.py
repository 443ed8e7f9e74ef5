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
    """An ONNX graph, loaded into an ONNX Runtime session."""

    def __init__(self, graph: Path | bytes, threads: int | None = None) -> None:
        """Load an ONNX graph from a file or from bytes; raise StorageError if it can't be read or run.

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
            raise ModelError(
                f"The model could not compute a batch: {str(error)[:300]}. Send fewer texts, or compress the model again."
            ) from error
        return out

    def values(self, arrays: dict[str, NDArray[Any]], names: Sequence[str], mask: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """Return, by name, the outputs `names` of the graph for one collated batch.

        `mask` is true for tokens that are not padding. An output with one row per token is reduced to the rows of these tokens.
        """
        values = self.session.run(list(names), {name: arrays[name] for name in self.names})
        return {name: value[mask] if value.shape[:2] == mask.shape else value for name, value in zip(names, values, strict=True)}

    def outputs(self, encoder: Encoder, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """Return the outputs of the model's head, one float32 array per feature (model input)."""
        if len(features) == 1:  # a single feature needs no sorting and no batches
            return [np.ascontiguousarray(self.run(encoder.collate(features))[0])]
        return outputs(encoder, features, TOKENS, lambda rows, arrays: self.run(arrays))


class GraphSegment:
    """Consecutive layers of a shared base model, computed by an ONNX graph; thread-safe."""

    def __init__(self, graph: Path, start: int | None, end: int, threads: int | None = None) -> None:
        """Load an ONNX graph that computes the layers from `start` to `end` of a base model.

        The input of the graph is the hidden states after the first `start` layers. If `start` is None, the input is a collated batch,
        and the graph begins with the embeddings. The output is the hidden states after the first `end` layers.
        """
        self.graph, self.start, self.end = Graph(graph, threads), start, end
        self._start = None if start is None else states(start)
        self._output = states(end)
        self._local = threading.local()

    def run(self, arrays: Arrays, given: NDArray[Any] | None, slots: NDArray[np.int64], banks: Arrays) -> NDArray[Any]:
        """Return the hidden states after the first `end` layers, shape (rows, tokens, width); raise ModelError if the graph fails.

        `given` is the hidden states after the first `start` layers, None if the graph begins with the embeddings. `slots` contains,
        for each row, the index of its model in `banks`, the arrays of all models' trained changes. A thread passes `banks` to the
        ONNX Runtime session again only if the arrays were replaced since its last batch.
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
            raise ModelError(
                f"The model could not compute a batch: {str(error)[:300]}. Send fewer texts, or compress the model again."
            ) from error
        return out


def _options(threads: int) -> onnxruntime.SessionOptions:
    """Return options for an ONNX Runtime session with `threads` threads.

    Its threads don't spin (wait actively) between calls, and it stores no memory plan for each input shape.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options
