"""Exports the ONNX graph of one pretrained model that many fine-tuned models share; independent of tasks.

A batch may contain sequences for different fine-tuned models. Each sequence is computed with the changes that
fine-tuning made for its own model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from vertune.core.banks import POSITIONS, SLOTS, Shapes, kind, neutral, states
from vertune.core.errors import ModelError
from vertune.core.kinds import Encoder
from vertune.core.records import Feature
from vertune.graphs import tracing
from vertune.nn.banks import MixedBackbone, gather
from vertune.nn.trained import TOLERANCE
from vertune.nn.vertical import VerticalModel


class _Gathering(nn.Module):
    """Wraps a MixedBackbone so that each of its arguments is a single tensor, as torch's ONNX exporter requires.

    The arguments are the input arrays, the banks (tensors that stack the changes of all fine-tuned models) and, for
    each sequence, the index of its fine-tuned model in the banks.
    """

    def __init__(self, mixed: MixedBackbone, names: Sequence[str]) -> None:
        super().__init__()
        self.mixed, self.names = mixed, names

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(self.names, arrays, strict=True))
        return tuple(self.mixed(named, gather({name: named[name] for name in self.mixed.shapes}, named[SLOTS])))


def export(model: VerticalModel, encoder: Encoder, shapes: Shapes, features: Sequence[Feature]) -> onnx.ModelProto:
    """Export a pretrained model that several fine-tuned models share as an ONNX graph.

    The graph's inputs are a batch, the banks (tensors that stack the changes of all fine-tuned models, with one entry
    of shape `shapes` per model) and, for each sequence, the index of its model in the banks. The outputs are the hidden
    states before and after every layer. `model` must be new, because hooks are registered on its backbone. The graph is
    compared with torch on `features` (encoded inputs), each with its own random changes. Raises ConfigError if the
    backbone can't be traced, and ModelError if no variant of the graph has the same outputs as torch.
    """
    import onnxruntime

    mixed = MixedBackbone(model.backbone, shapes).eval()
    arrays = {name: array for name, array in encoder.collate(features).items() if name in mixed.accepted}
    random = np.random.default_rng(0)
    slots = len(features) + 1
    banks = {name: (neutral(name) + 0.05 * random.standard_normal((slots, *shape))).astype(np.float32) for name, shape in shapes.items()}
    for name in banks:
        if kind(name) == "open":
            banks[name] = random.integers(0, 3, banks[name].shape).astype(np.float32)
    fed = {name: bank[1:] if kind(name) in POSITIONS else bank for name, bank in banks.items()}
    inputs = {name: torch.from_numpy(array) for name, array in {**arrays, SLOTS: np.arange(1, slots), **fed}.items()}
    with torch.no_grad():
        expected = [value.numpy() for value in _Gathering(mixed, list(inputs))(*inputs.values())]
    outputs = tuple(states(depth) for depth in range(len(expected)))
    axes = tracing.dynamic_axes(arrays, encoder.input_names) | {SLOTS: {0: "rows"}}
    axes |= {name: {0: "rows", 1: "tokens"} for name in outputs}
    axes |= {name: {0: "rows", 1: "positions"} if kind(name) in POSITIONS else {0: "slots"} for name in shapes}
    seen = encoder.mask(arrays)
    for made in tracing.forms(model, tracing.Traced(_Gathering(mixed, list(inputs)), inputs, outputs, axes)):
        session = onnxruntime.InferenceSession(made.SerializeToString(), tracing.quiet(), providers=["CPUExecutionProvider"])
        taken = {entry.name for entry in session.get_inputs()}
        last = session.run([outputs[-1]], {name: tensor.numpy() for name, tensor in inputs.items() if name in taken})[0]
        gap = float(np.abs(last - expected[-1])[seen].max(initial=0.0))
        if gap <= TOLERANCE * max(1.0, float(np.abs(expected[-1]).max(initial=0.0))):
            return made
    raise ModelError(
        f"The ONNX graph of {type(model.backbone).__name__}, which several fine-tuned models would share, does not "
        f"have the same outputs as torch. The largest difference is {gap:.2g}. Create a separate ONNX graph for each "
        "fine-tuned model: vertune compress MODEL"
    )
