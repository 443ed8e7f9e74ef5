"""Exports a model, with its pooling and head, as one ONNX graph with dynamic shapes; independent of tasks and of the graph's use.

torch has two exporters. The older one, which traces, is used here: it supports the hooks of every method and every model family,
needs no second package that must match torch's version, and is twenty times faster. It is deprecated; its warnings are
suppressed. The trace of a model of transformers is slow in three places, which are changed before or after tracing: attention is
written as plain matrix products, which ONNX Runtime computes faster than its own fused attention; one additive mask replaces
forty operations on positions, if the pretrained model accepts it; and shapes that only copy dimensions become constants.
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
    """Export a model as an ONNX graph whose outputs equal torch's on these features and on the longest texts (at most 4,096 tokens).

    The graph's inputs have the names of the arrays in a batch; its output is named `outputs`. Raises ConfigError if the model can't
    be traced, and ModelError, with the first text and the difference, if no variant of the graph has the same outputs as torch.
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
        f"The ONNX graph does not match the model: {where}. The graph was not kept. Report this as a bug, and name the pretrained model."
    )


def _first_difference(
    graph: onnx.ModelProto, near: tuple[Encoder, Sequence[Feature], list[NDArray[Any]]], far: tuple[Arrays, NDArray[Any]]
) -> str:
    """Describe the first text whose outputs differ between graph and model; return an empty string if there is none.

    `near` is the encoder, the features (encoded inputs) and the model's outputs for them; `far` is a batch of long texts and the
    model's outputs for it.
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
    """Yield variants of the graph to try, the fastest first; for some pretrained models, fast variants have wrong outputs."""
    if sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()) > LIMIT:
        raise ConfigError(f"One ONNX file contains at most {LIMIT / 1e9:.1f} GB of weights, but the model has more. Choose a smaller base.")
    names = [name for name in example if name in model.accepted]
    inputs = {name: torch.from_numpy(example[name]) for name in names}
    with torch.no_grad():
        per_token = model(dict(inputs)).dim() > 2
    axes = dynamic_axes({name: example[name] for name in names}, roles) | {OUTPUT: {0: "rows", 1: "tokens"} if per_token else {0: "rows"}}
    yield from forms(model, Traced(_Plain(model, names), inputs, (OUTPUT,), axes))


def dynamic_axes(arrays: Arrays, roles: InputNames) -> dict[str, dict[int, str]]:
    """Map each array's name to the names of its dimensions of variable size, by the dimension's index.

    The first dimension is `rows`; the second is `tokens` if the array has the shape of the token ids.
    """
    shape = arrays[roles.sequence].shape if roles.sequence is not None else None
    return {name: {0: "rows", 1: "tokens"} if array.shape == shape else {0: "rows"} for name, array in arrays.items()}


@dataclass(frozen=True, slots=True)
class Traced:
    """A module to trace, its example arguments, and the names and dynamic dimensions of the graph's inputs and outputs."""

    module: nn.Module
    inputs: dict[str, Tensor]
    """The example arguments in order, by their names in the graph."""
    outputs: tuple[str, ...]
    axes: dict[str, dict[int, str]]
    """The names of the dynamic dimensions of each input and output."""


def forms(model: VerticalModel, what: Traced) -> Iterator[onnx.ModelProto]:
    """Yield variants of the graph of a module that calls this model's backbone; raise ConfigError if none can be traced."""
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
            f"{type(model.backbone).__name__} can't be written as an ONNX graph: {failure}. Choose another base."
        ) from failure


class _Plain(nn.Module):
    """Wraps a model so that all arguments are tensors, as an exporter requires."""

    def __init__(self, model: VerticalModel, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *arrays: Tensor) -> Tensor:
        out: Tensor = self.model(dict(zip(self.names, arrays, strict=True)))
        return out


def _traced(model: VerticalModel, what: Traced, short: bool) -> onnx.ModelProto:
    """Trace the module once, and return its graph; `short` replaces the token mask by an additive mask."""
    with tempfile.TemporaryDirectory() as folder, _eager(model), _masked(model, short), _quiet(), torch.no_grad():
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            what.module.eval(), tuple(what.inputs.values()), file, dynamo=False, opset_version=OPSET, input_names=list(what.inputs),
            output_names=list(what.outputs), dynamic_axes=what.axes,
        )  # fmt: skip
        return onnx.load(file)


@contextmanager
def _eager(model: VerticalModel) -> Iterator[None]:
    """While the `with` block runs, transformers models inside `model` compute attention in plain matrix products, if they support it."""
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
    """If `short`, while the `with` block runs, replace the token mask by an additive mask of shape (rows, 1, 1, tokens).

    The hook is registered last, so that the mask already includes positions that a fine-tuning method adds.
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
    """Return the options of an ONNX Runtime session that logs only fatal errors."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return options


@contextmanager
def _quiet() -> Iterator[None]:
    """While the block runs, suppress the exporter's warnings about its deprecation, traced constants and constant folding."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
