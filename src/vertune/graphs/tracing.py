"""Exports a complete model (backbone, pooling and head) as one ONNX graph for batches of any size.

torch has two ONNX exporters. The older one, which traces the model, is used here: it supports the hooks of every
fine-tuning method and every model family, needs no second package that must match torch's version, and is twenty times
faster. It is deprecated; its warnings are suppressed. In the trace of a transformers model, three slow things are
changed. Attention is traced as plain matrix products, which ONNX Runtime computes faster than its own fused attention.
If the pretrained model accepts an additive mask, this mask is used, because transformers would compute one from the
positions with forty operations. Where the trace computes a shape only to keep dimensions as they are, a constant takes
its place; in it, ONNX writes 0 for a dimension that is copied from the input.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vertune.batching import batches
from vertune.core.errors import ConfigError, ModelError
from vertune.core.kinds import Encoder
from vertune.core.records import Feature, InputNames
from vertune.graphs.editing import fold_shapes
from vertune.nn import run
from vertune.nn.inputs import names_of
from vertune.nn.trained import TOLERANCE
from vertune.nn.vertical import VerticalModel

OPSET = 17
"""The first ONNX operator set with LayerNormalization as one operator."""
OUTPUT = "outputs"
_TOKENS = 4096
LIMIT = 1_900_000_000
"""The largest size of the weights, in bytes, that fits into one protobuf message together with the rest of the graph."""

Arrays = dict[str, NDArray[Any]]


def export(model: VerticalModel, encoder: Encoder, features: Sequence[Feature]) -> onnx.ModelProto:
    """Export a model as an ONNX graph, and check that the graph has the same outputs as torch.

    The check uses `features` (encoded inputs) and texts of the maximum length (at most 4,096 tokens). The graph's
    inputs have the names of the arrays in a batch; its output is named `outputs`. Raises ConfigError if the model can't
    be traced. Raises ModelError if no variant of the graph has the same outputs; the message contains the first text
    with other outputs, and the difference.
    """
    model.to("cpu")  # graphs are compared on the CPU; training may have used another device
    expected = run.outputs(model, encoder, features)
    example = encoder.collate(sorted(features, key=lambda feature: feature.cost)[:: max(1, len(features) // 3)][:3])
    largest = min(encoder.max_cost, _TOKENS)
    long = encoder.probe([largest, max(1, largest // 2)])  # some bases compute attention between distant tokens differently
    with torch.no_grad():
        far = model(run.tensors(long)).numpy()
    where = ""
    for graph in _forms(model, example, encoder.input_names):
        where = _first_difference(graph, (encoder, features, expected), (long, far))
        if not where:
            return graph
    raise ModelError(
        f"The ONNX graph does not have the same outputs as the torch model: {where}. The graph was not kept. Report "
        "this as a bug, with the name of the pretrained model."
    )


def _first_difference(
    graph: onnx.ModelProto, near: tuple[Encoder, Sequence[Feature], list[NDArray[Any]]], far: tuple[Arrays, NDArray[Any]]
) -> str:
    """Describe the first text for which the graph and the model have different outputs; return "" if there is none.

    `near` contains the encoder, features (encoded inputs) and the torch model's outputs for them. `far` contains a
    batch of long texts and the torch model's outputs for it.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(graph.SerializeToString(), quiet(), providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def answer(arrays: Arrays) -> NDArray[Any]:
        out: NDArray[Any] = session.run(None, {name: arrays[name] for name in names})[0]
        return out

    encoder, features, expected = near
    try:
        found = batches.outputs(encoder, features, _TOKENS, lambda rows, arrays: answer(arrays))
        seen = encoder.mask(far[0]) if far[1].ndim > 2 else ...
        pairs = [*zip(expected, found, strict=True), (far[1][seen], answer(far[0])[seen])]
    except Exception as error:  # ONNX Runtime's exceptions have no narrower base class in common
        return f"it can't be run on texts of other lengths ({str(error)[-200:]})"
    for place, (ours, theirs) in enumerate(pairs):
        gap = float(np.abs(ours - theirs).max(initial=0.0))
        if not gap <= TOLERANCE * max(1.0, float(np.abs(ours).max(initial=0.0))):
            return f"outputs of {'the longest text' if place == len(features) else f'text {place + 1}'} differ by {gap:.2g}"
    return ""


def _forms(model: VerticalModel, example: Arrays, roles: InputNames) -> Iterator[onnx.ModelProto]:
    """Yield variants of the model's ONNX graph, the fastest first; the caller keeps the first correct variant.

    For some pretrained models, the faster variants have wrong outputs. `example` is the batch with which the model is
    traced; `roles` contains the names of its arrays with token ids and mask. Raise ConfigError if the model is too
    large or can't be traced.
    """
    if sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()) > LIMIT:
        raise ConfigError(
            f"The weights of the model are too large for one ONNX file. Expected at most {LIMIT / 1e9:.1f} GB. Choose "
            "a smaller pretrained model as base."
        )
    names = [name for name in example if name in model.accepted]
    inputs = {name: torch.from_numpy(example[name]) for name in names}
    with torch.no_grad():
        per_token = model(dict(inputs)).dim() > 2
    axes = dynamic_axes({name: example[name] for name in names}, roles) | {OUTPUT: {0: "rows", 1: "tokens"} if per_token else {0: "rows"}}
    yield from forms(model, Traced(_Plain(model, names), inputs, (OUTPUT,), axes))


def dynamic_axes(arrays: Arrays, roles: InputNames) -> dict[str, dict[int, str]]:
    """Return which dimensions of the input arrays vary in size, in the form that torch's ONNX exporter expects.

    The result maps each array's name to a dictionary from a dimension's index to its name. The first dimension is
    `rows`. The second is `tokens` if the array has the shape of the token ids, whose name is in `roles`.
    """
    shape = arrays[roles.sequence].shape if roles.sequence is not None else None
    return {name: {0: "rows", 1: "tokens"} if array.shape == shape else {0: "rows"} for name, array in arrays.items()}


@dataclass(frozen=True, slots=True)
class Traced:
    """The arguments of one export to ONNX: the module to trace, and a description of its inputs and outputs.

    The description consists of example inputs, the names of the graph's inputs and outputs, and their dimensions of
    variable size.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    """The example arguments in order, by their names in the graph."""
    outputs: tuple[str, ...]
    axes: dict[str, dict[int, str]]
    """The names of the dynamic dimensions of each input and output."""


def forms(model: VerticalModel, what: Traced) -> Iterator[onnx.ModelProto]:
    """Trace a module that calls the backbone of `model`, and yield variants of its ONNX graph, the fastest first.

    The last variants keep the backbone's original mask; raise ConfigError if the module can't be traced with it.
    """
    failure: Exception | None = None
    for short in (True, False) if names_of(model.backbone).mask else (False,):
        try:
            traced = _traced(model, what, short)
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
            failure = error
            continue
        yield fold_shapes(traced)
        yield traced
        failure = None
    if failure is not None:
        raise ConfigError(
            f"The pretrained model {type(model.backbone).__name__} can't be converted to an ONNX graph: {failure}. Choose another base."
        ) from failure


class _Plain(nn.Module):
    """Wraps a model so that each array of a batch is a separate tensor argument, as torch's ONNX exporter requires."""

    def __init__(self, model: VerticalModel, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *arrays: Tensor) -> Tensor:
        out: Tensor = self.model(dict(zip(self.names, arrays, strict=True)))
        return out


def _traced(model: VerticalModel, what: Traced, short: bool) -> onnx.ModelProto:
    """Trace the module and return its ONNX graph.

    With `short`, the mask (1 for tokens, 0 for padding) is replaced by an additive mask, which makes the graph shorter.
    """
    with tempfile.TemporaryDirectory() as folder, _eager(model), _masked(model, short), _quiet(), torch.no_grad():
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            what.module.eval(), tuple(what.inputs.values()), file, dynamo=False, opset_version=OPSET, input_names=list(what.inputs),
            output_names=list(what.outputs), dynamic_axes=what.axes,
        )  # fmt: skip
        return onnx.load(file)


@contextmanager
def _eager(model: VerticalModel) -> Iterator[None]:
    """While the `with` block runs, transformers models in `model` compute attention as plain matrix products.

    Models that do not support this are not changed.
    """
    from transformers import PreTrainedModel

    changed = []
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module._can_set_attn_implementation():
            changed.append((module, module.config._attn_implementation))
            module.set_attn_implementation("eager")
    try:
        yield
    finally:
        for module, before in changed:
            module.set_attn_implementation(before)


@contextmanager
def _masked(model: VerticalModel, short: bool) -> Iterator[None]:
    """If `short`, replace the backbone's mask by an additive mask while the `with` block runs.

    The additive mask has the shape (rows, 1, 1, tokens); it is 0 for tokens, and the lowest float32 number for padding.
    The hook that creates it is registered last, so that the mask already includes positions that a fine-tuning method
    adds.
    """

    def add(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        mask = kwargs[name][:, None, None, :].float()
        return args, {**kwargs, name: (1.0 - mask) * torch.finfo(torch.float32).min}

    name = str(names_of(model.backbone).mask)
    handle = model.backbone.register_forward_pre_hook(add, with_kwargs=True) if short else None
    try:
        yield
    finally:
        if handle:
            handle.remove()


def quiet() -> Any:
    """Return options for an ONNX Runtime session that logs only fatal errors."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return options


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress warnings of torch's ONNX exporter while the `with` block runs.

    They are about its deprecation, about values that become constants in the trace, and about constant folding.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
