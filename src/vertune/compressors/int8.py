"""Quantises weights and activations to 8-bit integers (int8), and leaves sensitive layers in float32.

There is one scale for each output channel of a weight matrix, for each row of an embedding table, and for each
activation tensor. The scales of activations are either calibrated once on training texts (`static`) or computed from
every batch (`dynamic`). With calibrated scales, the output for a text does not depend on the other texts of its batch,
and inference computes no ranges. Part of the scale of outlier channels is moved from the activations into the weights
(SmoothQuant, Xiao et al. 2023); for each product, several strengths are tried, and the result must be closest to the
float32 product. A search finds the layers whose quantisation costs too much accuracy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.errors import ConfigError
from vertune.core.kinds import CompressionContext, Compressor, StandaloneModel
from vertune.core.machine import cpu_features
from vertune.core.records import Record

if TYPE_CHECKING:
    import onnx

_SAMPLE = 32
"""Number of tokens whose activations are sampled from each calibration batch."""
_RANKED = 64
"""Number of records on which the search compares layers; it is small, because each layer is tried on all of these records."""
_CLIP_SHARES = np.linspace(0.3, 1.0, 15)
"""Fractions of the observed value range to try as quantised range: if rare outliers are clipped, all other values are more exact."""
_SMOOTHING = (0.5, 0.7, 0.85, 1.0)
"""The values of SmoothQuant's alpha to try: the share of a channel's scale that moves into the weights; 1 moves all of it."""
_SMOOTHING_GAIN = 0.9
"""Smoothing takes time in every forward pass, so it is used only if it reduces a product's error to at most this fraction."""


@dataclass(frozen=True, slots=True)
class ActivationRange:
    """The value range of a matrix product's input that is mapped to 8-bit integers; values outside it are clipped."""

    low: float
    high: float
    spread: NDArray[np.float32] | None = None
    """The divisor of each channel before quantisation (smoothing); None if channels are not smoothed."""


Scales = dict[str, ActivationRange]
"""The range of each tensor that is the input of a matrix product, by the tensor's name."""


class Int8(Compressor):
    """Compressor that quantises an ONNX graph to int8; its fields are options in the config."""

    precision: ClassVar[Literal["float32", "int8"]] = "int8"
    works_on: ClassVar[Literal["torch", "onnx"]] = "onnx"

    activations: Literal["static", "dynamic"] = "static"
    """How the scale of activations is set: calibrated once on training texts (`static`), or computed from each batch (`dynamic`)."""
    rows: int = Field(default=256, ge=8, le=10_000)
    """Number of training records for the calibration."""
    bits: Literal["auto", 7, 8] = "auto"
    """Number of bits per weight. `auto` means 8, or 7 on a processor without VNNI, where 8 bits would overflow 16-bit sums."""
    keep: list[str] = Field(default=[])
    """Layers that always remain float32: each entry is part of a layer's name, such as `layer.5` or `embeddings`."""
    search: bool = True
    """Whether to search for layers to leave in float32 if the fully quantised model loses more accuracy than allowed."""

    def shrink(self, model: StandaloneModel, context: CompressionContext) -> StandaloneModel:
        """Return the model with its ONNX graph quantised to int8.

        Layers that the option `keep` names stay in float32. If the model then fails the accuracy check, and the option
        `search` is on, further layers are left in float32, as few as possible. Raise ConfigError if no matrix of the
        graph is large enough to be quantised.
        """
        kinds = sites(model.body)
        if not kinds:
            raise ConfigError(
                "The model's ONNX graph has no matrix product that int8 could quantise. Expected at least one product "
                "with a constant matrix of 1,024 or more weights. Remove int8 from the list of compressors: --set "
                "'compress.chain=[]'"
            )
        rows = np.random.default_rng(context.seed).permutation(len(context.train))[: self.rows]
        records = [context.train[row] for row in sorted(rows.tolist())]
        scales = _calibrate(model, context, records, kinds) if self.activations == "static" else None
        excluded = {site for site in kinds if any(part in site for part in self.keep)}

        def quantise_except(sites: Iterable[str]) -> StandaloneModel:
            return StandaloneModel(model.encoder, model.task, quantise(model.body, scales, {*excluded, *sites}, self._levels()))

        everything = quantise_except(())
        if not self.search or context.accepts(everything):
            return everything
        candidates = [site for site in kinds if site not in excluded]
        return quantise_except(_fewest_in_float32(model, quantise_except, candidates, context, records))

    def _levels(self) -> int:
        """Return the largest absolute value of a quantised weight: 127 with 8 bits per weight, 63 with 7 bits."""
        vnni = any(name in cpu_features() for name in ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp"))
        return 127 if self.bits == 8 or (self.bits == "auto" and vnni) else 63


def sites(graph: onnx.ModelProto) -> dict[str, str]:
    """Find the nodes of an ONNX graph that can be quantised to int8.

    Returns a dictionary from the shortened name (site) of each such node to its kind: `product` for a matrix product
    with a constant matrix of at least 1,024 numbers, `table` for a lookup in an embedding table of at least 65,536
    numbers.
    """
    constants = {tensor.name: tensor.dims for tensor in graph.graph.initializer if tensor.data_type == 1}  # float32
    kinds = {}
    for node in graph.graph.node:
        if node.op_type == "MatMul" and _large(constants.get(node.input[1]), 1 << 10):
            kinds[_site(node)] = "product"
        elif node.op_type == "Gather" and _large(constants.get(node.input[0]), 1 << 16):
            kinds[_site(node)] = "table"
    return kinds


def _large(dims: Sequence[int] | None, minimum: int) -> bool:
    """Return whether these are the dimensions of a matrix with at least `minimum` numbers; False for None."""
    return dims is not None and len(dims) == 2 and dims[0] * dims[1] >= minimum


def _site(node: onnx.NodeProto) -> str:
    """Return the shortened name (site) of a graph node: without the prefix `/model` and the operator at the end.

    For example, `/model/layer.0/query/MatMul` becomes `layer.0/query`. If nothing remains, return the name of the
    node's output.
    """
    return node.name.removeprefix("/model").strip("/").rpartition("/")[0] or node.output[0]


def quantise(graph: onnx.ModelProto, scales: Scales | None, excluded: set[str], levels: int) -> onnx.ModelProto:
    """Return a copy of the ONNX graph that is quantised, except at the nodes in `excluded`.

    `excluded` contains the shortened names (sites) of these nodes. `scales` contains the calibrated range of each
    activation tensor, by the tensor's name; if it is None, the quantised graph computes the ranges from each batch. The
    weights of matrix products become integers from -`levels` to `levels`.
    """
    return _Quantiser(graph, scales, levels).run(excluded)


class _Quantiser:
    """Creates the int8 version of an ONNX graph: in a copy of it, the nodes to quantise are replaced one by one."""

    def __init__(self, graph: onnx.ModelProto, scales: Scales | None, levels: int) -> None:
        self.model = copy.deepcopy(graph)
        self.scales, self.levels = scales, levels
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self.nodes: list[Any] = []
        self.added: dict[str, NDArray[Any]] = {}
        self.quantised: dict[str, tuple[str, str, str]] = {}
        """The names of the integers, scale and zero point of each quantised activation, by the activation's name."""

    def run(self, excluded: set[str]) -> onnx.ModelProto:
        """Quantise every node whose shortened name (site) is not in `excluded`, and return the quantised graph."""
        from onnx import helper, numpy_helper

        graph = self.model.graph
        kinds = {site: kind for site, kind in sites(self.model).items() if site not in excluded}
        biases = self._biases()
        absorbed = set()
        for node in graph.node:
            kind = kinds.get(_site(node)) if node.op_type in ("MatMul", "Gather") else None
            if kind == "product" and node.input[1] in self.constants:
                absorbed |= self._product(node, biases.get(node.output[0]))
            elif kind == "table" and node.input[0] in self.constants:
                self._table(node)
            elif node.output[0] not in absorbed:
                self.nodes.append(node)
        nodes = [copy.deepcopy(node) for node in self.nodes]
        del graph.node[:]
        graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        tensors = [tensor for name, tensor in self.constants.items() if name in used]
        tensors += [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in self.added.items()]
        initializers = [copy.deepcopy(tensor) for tensor in tensors]
        del graph.initializer[:]
        graph.initializer.extend(initializers)
        if not any(entry.domain == "com.microsoft" for entry in self.model.opset_import):
            self.model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return self.model

    def _value(self, name: str) -> NDArray[Any]:
        """Return the value of the graph's constant with this name."""
        from onnx import numpy_helper

        return numpy_helper.to_array(self.constants[name])

    def _biases(self) -> dict[str, tuple[str, str]]:
        """Find the Add nodes that add a constant vector (bias) to a tensor that no other node reads.

        Returns a dictionary from the name of this tensor to two names: of the constant vector, and of the Add node's
        output.
        """
        readers: dict[str, list[Any]] = {}
        for node in self.model.graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        biases = {}
        for name, nodes in readers.items():
            if len(nodes) == 1 and nodes[0].op_type == "Add":
                other = next((entry for entry in nodes[0].input if entry != name), "")
                if other in self.constants and len(self.constants[other].dims) == 1:
                    biases[name] = (other, nodes[0].output[0])
        return biases

    def _product(self, node: Any, bias: tuple[str, str] | None) -> set[str]:
        """Replace a MatMul node by an integer product, which also adds the bias if `bias` is given.

        `bias` contains two names: of the constant vector to add, and of the output of the Add node that adds it in the
        float32 graph. That Add node is then replaced too. Return a set with the name of its output; without a bias, the
        set is empty.
        """
        from onnx import helper

        source, constant = node.input[0], node.input[1]
        spread = self.scales[source].spread if self.scales else None
        weight = constant if spread is None else f"{constant}_of_{source}"  # shared layers multiply one matrix by several inputs
        if f"{weight}_int8" not in self.added:
            matrix = self._value(constant)
            integers, scale = quantise_matrix(matrix if spread is None else matrix * spread[:, None], self.levels, axis=0)
            self.added |= {f"{weight}_int8": integers, f"{weight}_scale": scale}
        states, scale_of, zero = self._activation(source)
        inputs = [states, f"{weight}_int8", scale_of, f"{weight}_scale", zero, "", *(bias[:1] if bias else ())]
        output = bias[1] if bias else node.output[0]
        self.nodes.append(helper.make_node("MatMulIntegerToFloat", inputs, [output], name=node.name, domain="com.microsoft"))
        return {output} if bias else set()

    def _activation(self, name: str) -> tuple[str, str, str]:
        """Add a node that quantises an activation tensor; return the names of its integers, scale and zero point.

        If several products read the same tensor, the node is added only once.
        """
        from onnx import helper

        if name in self.quantised:
            return self.quantised[name]
        names = (f"{name}_uint8", f"{name}_scale", f"{name}_zero")
        if self.scales is None:
            self.nodes.append(helper.make_node("DynamicQuantizeLinear", [name], list(names)))
        else:
            bounds, source = self.scales[name], name
            if bounds.spread is not None:
                source = f"{name}_even"
                self.added[f"{name}_spread"] = 1 / bounds.spread
                self.nodes.append(helper.make_node("Mul", [name, f"{name}_spread"], [source]))
            step, zero = _step_and_zero(bounds.low, bounds.high)
            self.added |= {names[1]: np.array(step, np.float32), names[2]: np.array(zero, np.uint8)}
            self.nodes.append(helper.make_node("QuantizeLinear", [source, names[1], names[2]], [names[0]]))
        self.quantised[name] = names
        return names

    def _table(self, node: Any) -> None:
        """Replace a lookup in a float32 embedding table by a lookup in an int8 table, which has one scale per row."""
        from onnx import helper

        table, ids, output = node.input[0], node.input[1], node.output[0]
        if f"{table}_int8" not in self.added:
            integers, scale = quantise_matrix(self._value(table), 127, axis=1)  # a lookup sums no products, so 8 bits can't overflow
            self.added |= {f"{table}_int8": integers, f"{table}_scale": scale[:, None]}
        self.nodes += [
            helper.make_node("Gather", [f"{table}_int8", ids], [f"{output}_int8"], name=node.name),
            helper.make_node("Gather", [f"{table}_scale", ids], [f"{output}_scale"]),
            helper.make_node("Cast", [f"{output}_int8"], [f"{output}_float"], to=1),
            helper.make_node("Mul", [f"{output}_float", f"{output}_scale"], [output]),
        ]


def quantise_matrix(matrix: NDArray[Any], levels: int, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise a matrix; return it as integers from -levels to levels, and the scales.

    An integer times its scale is approximately the original value. There is one scale per column if `axis` is 0, and
    one per row if `axis` is 1.
    """
    scale = np.abs(matrix).max(axis=axis) / levels
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    divisor = scale[None, :] if axis == 0 else scale[:, None]
    return np.clip(np.rint(matrix / divisor), -levels, levels).astype(np.int8), scale


def _calibrate(model: StandaloneModel, context: CompressionContext, records: Sequence[Record], kinds: dict[str, str]) -> Scales:
    """Measure, in the float32 graph, the value range of each tensor that is the input of a product to quantise.

    The graph is run on `records` (training data). `kinds` is the result of `sites`. Return the range to map to 8 bits,
    and the smoothing, by the tensor's name.
    """
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.body.graph.initializer}
    readers: dict[str, list[str]] = {}
    for node in model.body.graph.node:
        if node.op_type == "MatMul" and kinds.get(_site(node)) == "product":
            readers.setdefault(node.input[0], []).append(node.input[1])
    samples: dict[str, list[NDArray[Any]]] = {name: [] for name in readers}
    extremes: dict[str, NDArray[Any]] = {}
    random = np.random.default_rng(context.seed)
    for batch in context.activations(model, records, list(readers)):
        for name, value in batch.items():
            rows = value.reshape(-1, value.shape[-1])
            samples[name].append(rows[random.permutation(len(rows))[:_SAMPLE]])
            current = np.stack([rows.min(0), rows.max(0)])
            before = extremes.get(name, current)
            extremes[name] = np.stack([np.minimum(before[0], current[0]), np.maximum(before[1], current[1])])
    scales = {}
    for number, (name, matrices) in enumerate(readers.items(), 1):
        matrix = np.concatenate([numpy_helper.to_array(constants[constant]) for constant in dict.fromkeys(matrices)], axis=1)
        scales[name] = _best_range(np.concatenate(samples[name]), extremes[name], matrix)
        context.progress("fitting", step=number, steps=len(readers))
    return scales


def _best_range(states: NDArray[Any], extremes: NDArray[Any], matrix: NDArray[Any]) -> ActivationRange:
    """Choose the value range and smoothing with which a quantised product comes closest to the float32 product.

    `states` contains sampled inputs, shape (tokens, channels), and `matrix` the weights, shape (channels, outputs).
    `extremes` contains the smallest and the largest value observed in each channel, shape (2, channels).
    """
    product = states @ matrix
    sizes, weights = np.maximum(np.abs(extremes).max(0), 1e-5), np.maximum(np.abs(matrix).max(1), 1e-5)
    best: tuple[float, ActivationRange] | None = None
    for alpha in (None, *_SMOOTHING):
        spread = None if alpha is None else (sizes**alpha / weights ** (1 - alpha)).astype(np.float32)
        smoothed, inner = (states, matrix) if spread is None else (states / spread, matrix * spread[:, None])
        low, high = _clip(smoothed, extremes if spread is None else extremes / spread)
        integers, step = quantise_matrix(inner, 127, axis=0)
        error = float(np.square(_dequantised(smoothed, low, high) @ (integers * step) - product, dtype=np.float64).mean())
        if best is None or error < best[0] * (_SMOOTHING_GAIN if best[1].spread is None else 1.0):
            best = error, ActivationRange(low, high, spread)
    assert best is not None
    return best[1]


def _clip(values: NDArray[Any], extremes: NDArray[Any]) -> tuple[float, float]:
    """Return the low and high end of the range with the smallest squared error when quantising values to 8 bits.

    The tried ranges are fractions, from 30% to 100%, of the range between the `extremes`, and always include 0.
    """
    low, high = min(0.0, float(extremes.min())), max(0.0, float(extremes.max()))
    best = min(
        _CLIP_SHARES, key=lambda share: float(np.square(_dequantised(values, low * share, high * share) - values, dtype=np.float64).sum())
    )
    return low * float(best), high * float(best)


def _step_and_zero(low: float, high: float) -> tuple[float, float]:
    """Return the two parameters with which a value range is mapped to 8 bits: the step and the zero point.

    The range is divided into 255 equal steps; the first value is the size of one step. The zero point is the integer,
    from 0 to 255, that represents the value 0.
    """
    step = max(high - low, 1e-8) / 255
    return step, float(np.clip(np.rint(-low / step), 0, 255))


def _dequantised(values: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """Return the values quantised to 8 bits and converted back; they are clipped to the range `low` to `high`."""
    step, zero = _step_and_zero(low, high)
    result: NDArray[Any] = (np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step
    return result.astype(np.float32)


def _fewest_in_float32(
    model: StandaloneModel,
    quantise_except: Callable[[Iterable[str]], StandaloneModel],
    sites: Sequence[str],
    context: CompressionContext,
    records: Sequence[Record],
) -> set[str]:
    """Search for the fewest graph nodes (sites) that must stay in float32 for the model to pass the accuracy check.

    `quantise_except` returns the quantised model with the given sites in float32. First, each site alone is left in
    float32. Sites are ranked by how close the outputs then are to those of the float32 model. A binary search finds the
    smallest number of top-ranked sites with which the model passes. Then each of these sites is quantised again, and
    stays quantised if the model still passes. Return the remaining sites; if no smaller set passes, return all `sites`.
    """
    records = records[:_RANKED]
    expected = context.outputs(model, records)

    def distance(excluded: Iterable[str]) -> float:
        outputs = context.outputs(quantise_except(excluded), records)
        return float(np.mean([np.square(a - b).mean() for a, b in zip(expected, outputs, strict=True)]))

    gains: dict[str, float] = {}
    for number, site in enumerate(sites, 1):
        gains[site] = -distance([site])
        context.progress("searching", step=number, steps=len(sites))
    ranked = sorted(sites, key=lambda site: gains[site], reverse=True)
    number = 1
    while number < len(ranked) and not context.accepts(quantise_except(ranked[:number])):
        number *= 2
    low, high = number // 2, min(number, len(ranked))
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if context.accepts(quantise_except(ranked[:middle])) else (middle, high)
    excluded = ranked[:high]
    for site in reversed(ranked[: high - 1]):
        fewer = [other for other in excluded if other != site]
        if len(excluded) > 1 and context.accepts(quantise_except(fewer)):
            excluded = fewer
    context.progress("left", sites=", ".join(excluded), count=len(excluded), of=len(sites))
    return set(excluded)
