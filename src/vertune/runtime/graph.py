"""An ONNX graph in memory, answered by ONNX Runtime; knows nothing of torch, of texts, or of what is answered."""

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
"""What ONNX Runtime would fuse to a slower operation: 178 µs where an addition and a norm take 33 (1.31, 96 tokens of width 384)."""
TOKENS = 2048
"""Padded tokens of one batch: more fill no cache, and take memory."""


class Graph:
    """A session on one graph."""

    def __init__(self, graph: Path | bytes, threads: int | None = None) -> None:
        """Load a file or a serialised graph; StorageError where it can't be read or run.

        `threads` is how many share one call; None takes as many as there are processors for this process.
        """
        self.threads = threads or usable_processors()
        what = graph if isinstance(graph, bytes) else os.fspath(graph)
        try:
            self.session = onnxruntime.InferenceSession(
                what, _options(self.threads), providers=["CPUExecutionProvider"], disabled_optimizers=_SLOW
            )
        except Exception as error:  # ONNX Runtime's classes have no common base but this
            where = "The graph" if isinstance(graph, bytes) else f"{graph}"
            raise StorageError(f"{where} is not an ONNX graph that can be run: {str(error)[:300]}. Compress the model again.") from error
        last = self.session.get_outputs()[0].shape[-1]
        self.size: int | None = last if isinstance(last, int) else None
        """Numbers of one output; None where the graph does not say."""
        self.names = tuple(entry.name for entry in self.session.get_inputs())

    def run(self, arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
        """The outputs of one collated batch; ModelError where the graph can't take it."""
        try:
            out: NDArray[Any] = self.session.run(None, {name: arrays[name] for name in self.names})[0]
        except Exception as error:
            raise ModelError(f"The model could not answer a batch: {str(error)[:300]}. Send less at once, or compress it again.") from error
        return out

    def values(self, arrays: dict[str, NDArray[Any]], names: Sequence[str], mask: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
        """These outputs of one collated batch; of those with one row a position, the rows that are no padding by the mask."""
        found = self.session.run(list(names), {name: arrays[name] for name in self.names})
        return {name: value[mask] if value.shape[:2] == mask.shape else value for name, value in zip(names, found, strict=True)}

    def outputs(self, encoder: Encoder, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """The head's outputs, one float32 array a feature."""
        if len(features) == 1:  # the one short text: nothing to sort, nothing to cut
            return [np.ascontiguousarray(self.run(encoder.collate(features))[0])]
        return outputs(encoder, features, TOKENS, lambda rows, arrays: self.run(arrays))


class GraphSegment:
    """Some layers of a shared backbone; safe for several threads."""

    def __init__(self, graph: Path, start: int | None, end: int, threads: int | None = None) -> None:
        """Load a file that takes the states of depth `start` (None: a collated batch) and gives those of `end`."""
        self.graph, self.start, self.end = Graph(graph, threads), start, end
        self._start = None if start is None else states(start)
        self._output = states(end)
        self._local = threading.local()

    def run(self, arrays: Arrays, given: NDArray[Any] | None, slots: NDArray[np.int64], banks: Arrays) -> NDArray[Any]:
        """The states at the end, shape (rows, tokens, width); ModelError where the graph can't take the batch.

        Banks stay bound from one call of a thread to its next, as long as they are the same.
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
                    local.held[name] = np.ascontiguousarray(fed[name])  # held, because a binding does not
                    binding.bind_cpu_input(name, local.held[name])
            binding.clear_binding_outputs()
            binding.bind_output(self._output, "cpu")
            self.graph.session.run_with_iobinding(binding)
            out: NDArray[Any] = binding.get_outputs()[0].numpy()
        except Exception as error:  # ONNX Runtime's classes have no common base but this
            local.banks = None
            raise ModelError(f"The model could not answer a batch: {str(error)[:300]}. Send less at once, or compress it again.") from error
        return out


def _options(threads: int) -> onnxruntime.SessionOptions:
    """How sessions run: no thread waits busily once an answer is there, and no plan of memory is kept for each shape seen."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options
