"""Whole numbers of 8 bits in the place of float32: weights a channel, activations a layer, word embeddings a row.

Scales of activations are learnt once from training texts (`static`), so that an answer never depends on the texts beside it in
a batch, and no pass over the activations is spent on finding them; or found anew in every batch (`dynamic`). Channels that
are much larger than the others are divided before and multiplied into the weights after (SmoothQuant, Xiao et al. 2023), by as
much as makes the product nearest. What costs accuracy all the same is found by search and left in float32.
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
"""Tokens of a batch whose states are kept."""
_RANKED = 64
"""Records on which the search ranks layers; each layer is tried on all of them."""
_CUTS = np.linspace(0.3, 1.0, 15)
"""Shares of the range seen that are tried as the range held: what lies beyond is rare, and a finer step serves the rest."""
_STRENGTHS = (0.5, 0.7, 0.85, 1.0)
"""How much of a channel's size is moved into the weights, as tried; 1 moves all of it."""
_WORTH = 0.9
"""Channels are divided where that leaves at most this share of the product's error: it costs a pass over them."""


@dataclass(frozen=True, slots=True)
class ActivationRange:
    """How the input of a product is held in 8 bits."""

    low: float
    high: float
    spread: NDArray[np.float32] | None = None
    """What each channel is divided by first; None divides by nothing."""


Scales = dict[str, ActivationRange]
"""Of each input of a product."""


class Int8(Compressor):
    """Options of int8."""

    works_on: ClassVar[Literal["torch", "onnx"]] = "onnx"

    activations: Literal["static", "dynamic"] = "static"
    """How activations get their scale: learnt from training texts once, or from the batch that is answered."""
    rows: int = Field(default=256, ge=8, le=10_000)
    """Training records that scales are learnt from."""
    bits: Literal["auto", 7, 8] = "auto"
    """Bits of a weight; auto is 8, and 7 on a processor without VNNI, whose sums of 16 bits would overflow."""
    keep: list[str] = Field(default=[])
    """Parts of names of layers that stay in float32 from the start, such as `layer.5` or `embeddings`."""
    search: bool = True
    """Whether layers are left in float32 where the whole in 8 bits does not pass the gate."""

    def shrink(self, model: StandaloneModel, bench: CompressionContext) -> StandaloneModel:
        """The graph in 8 bits, or with the fewest layers in float32 that the gate asks for; ConfigError where nothing is large enough."""
        places = sites(model.body)
        if not places:
            raise ConfigError(
                "The graph has no matrix product that could be held in 8 bits. Expected one of at least 1,024 weights. "
                "Leave int8 out: --set compress=[]"
            )
        rows = np.random.default_rng(bench.seed).permutation(len(bench.train))[: self.rows]
        records = [bench.train[row] for row in sorted(rows.tolist())]
        scales = _scales(model, bench, records, places) if self.activations == "static" else None
        kept = {place for place in places if any(part in place for part in self.keep)}

        def made(left: Iterable[str]) -> StandaloneModel:
            return StandaloneModel(model.encoder, model.task, quantised(model.body, scales, {*kept, *left}, self._levels()))

        everything = made(())
        if not self.search or bench.accepts(everything):
            return everything
        return made(_fewest(model, made, [place for place in places if place not in kept], bench, records))

    def _levels(self) -> int:
        """Largest whole number of a weight."""
        vnni = any(name in cpu_features() for name in ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp"))
        return 127 if self.bits == 8 or (self.bits == "auto" and vnni) else 63


def sites(graph: onnx.ModelProto) -> dict[str, str]:
    """What can be held in 8 bits: products with a constant matrix and large tables of embeddings, each with its kind of node."""
    constants = {tensor.name: tensor.dims for tensor in graph.graph.initializer if tensor.data_type == 1}  # float32
    found = {}
    for node in graph.graph.node:
        if node.op_type == "MatMul" and _large(constants.get(node.input[1]), 1 << 10):
            found[_site(node)] = "product"
        elif node.op_type == "Gather" and _large(constants.get(node.input[0]), 1 << 16):
            found[_site(node)] = "table"
    return found


def _large(dims: Sequence[int] | None, least: int) -> bool:
    """Whether a constant is a matrix of at least so many numbers."""
    return dims is not None and len(dims) == 2 and dims[0] * dims[1] >= least


def _site(node: onnx.NodeProto) -> str:
    """The name of a node without its beginning, which is the same for all, and its kind."""
    return node.name.removeprefix("/model").strip("/").rpartition("/")[0] or node.output[0]


def quantised(graph: onnx.ModelProto, scales: Scales | None, left: set[str], levels: int) -> onnx.ModelProto:
    """A copy in 8 bits but for the sites in `left`; without scales, those of each batch are used."""
    return _Rewriting(graph, scales, levels).run(left)


class _Rewriting:
    """One graph while it is written anew, node by node."""

    def __init__(self, graph: onnx.ModelProto, scales: Scales | None, levels: int) -> None:
        self.made = copy.deepcopy(graph)
        self.scales, self.levels = scales, levels
        self.constants = {tensor.name: tensor for tensor in self.made.graph.initializer}
        self.nodes: list[Any] = []
        self.added: dict[str, NDArray[Any]] = {}
        self.quantised: dict[str, tuple[str, str, str]] = {}
        """Of each activation: its whole numbers, their scale, their zero."""

    def run(self, left: set[str]) -> onnx.ModelProto:
        """The graph with every site rewritten that is not left as it is."""
        from onnx import helper, numpy_helper

        graph = self.made.graph
        places = {place: kind for place, kind in sites(self.made).items() if place not in left}
        biases = self._biases()
        absorbed = set()
        for node in graph.node:
            kind = places.get(_site(node)) if node.op_type in ("MatMul", "Gather") else None
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
        kept = [copy.deepcopy(tensor) for tensor in tensors]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        if not any(entry.domain == "com.microsoft" for entry in self.made.opset_import):
            self.made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        return self.made

    def _value(self, name: str) -> NDArray[Any]:
        """A constant as an array."""
        from onnx import numpy_helper

        return numpy_helper.to_array(self.constants[name])

    def _biases(self) -> dict[str, tuple[str, str]]:
        """Of each product that only one addition of a constant vector reads: that vector, and what the addition gives."""
        readers: dict[str, list[Any]] = {}
        for node in self.made.graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        found = {}
        for name, nodes in readers.items():
            if len(nodes) == 1 and nodes[0].op_type == "Add":
                other = next((entry for entry in nodes[0].input if entry != name), "")
                if other in self.constants and len(self.constants[other].dims) == 1:
                    found[name] = (other, nodes[0].output[0])
        return found

    def _product(self, node: Any, bias: tuple[str, str] | None) -> set[str]:
        """A product of whole numbers, which adds the bias too; returns what need not be computed any more."""
        from onnx import helper

        source, constant = node.input[0], node.input[1]
        spread = self.scales[source].spread if self.scales else None
        weight = constant if spread is None else f"{constant}_of_{source}"  # shared layers read one matrix from several places
        if f"{weight}_int8" not in self.added:
            matrix = self._value(constant)
            whole, scale = rounded(matrix if spread is None else matrix * spread[:, None], self.levels, axis=0)
            self.added |= {f"{weight}_int8": whole, f"{weight}_scale": scale}
        states, scale_of, zero = self._activation(source)
        inputs = [states, f"{weight}_int8", scale_of, f"{weight}_scale", zero, "", *(bias[:1] if bias else ())]
        output = bias[1] if bias else node.output[0]
        self.nodes.append(helper.make_node("MatMulIntegerToFloat", inputs, [output], name=node.name, domain="com.microsoft"))
        return {output} if bias else set()

    def _activation(self, name: str) -> tuple[str, str, str]:
        """The whole numbers of an activation, once for all products that read it."""
        from onnx import helper

        if name in self.quantised:
            return self.quantised[name]
        names = (f"{name}_uint8", f"{name}_scale", f"{name}_zero")
        if self.scales is None:
            self.nodes.append(helper.make_node("DynamicQuantizeLinear", [name], list(names)))
        else:
            held, source = self.scales[name], name
            if held.spread is not None:
                source = f"{name}_even"
                self.added[f"{name}_spread"] = 1 / held.spread
                self.nodes.append(helper.make_node("Mul", [name, f"{name}_spread"], [source]))
            step, zero = _steps(held.low, held.high)
            self.added |= {names[1]: np.array(step, np.float32), names[2]: np.array(zero, np.uint8)}
            self.nodes.append(helper.make_node("QuantizeLinear", [source, names[1], names[2]], [names[0]]))
        self.quantised[name] = names
        return names

    def _table(self, node: Any) -> None:
        """A table of whole numbers with one scale a row."""
        from onnx import helper

        table, ids, output = node.input[0], node.input[1], node.output[0]
        if f"{table}_int8" not in self.added:
            whole, scale = rounded(self._value(table), 127, axis=1)  # no product of these is summed
            self.added |= {f"{table}_int8": whole, f"{table}_scale": scale[:, None]}
        self.nodes += [
            helper.make_node("Gather", [f"{table}_int8", ids], [f"{output}_int8"], name=node.name),
            helper.make_node("Gather", [f"{table}_scale", ids], [f"{output}_scale"]),
            helper.make_node("Cast", [f"{output}_int8"], [f"{output}_float"], to=1),
            helper.make_node("Mul", [f"{output}_float", f"{output}_scale"], [output]),
        ]


def rounded(matrix: NDArray[Any], levels: int, axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Whole numbers from −levels to levels, and the scale of each row (axis 1) or column (axis 0)."""
    scale = np.abs(matrix).max(axis=axis) / levels
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
    spread = scale[None, :] if axis == 0 else scale[:, None]
    return np.clip(np.rint(matrix / spread), -levels, levels).astype(np.int8), scale


def _scales(model: StandaloneModel, bench: CompressionContext, records: Sequence[Record], places: dict[str, str]) -> Scales:
    """How each input of a product is best held, from what the float graph computes on these records."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.body.graph.initializer}
    readers: dict[str, list[str]] = {}
    for node in model.body.graph.node:
        if node.op_type == "MatMul" and places.get(_site(node)) == "product":
            readers.setdefault(node.input[0], []).append(node.input[1])
    kept: dict[str, list[NDArray[Any]]] = {name: [] for name in readers}
    ends: dict[str, NDArray[Any]] = {}
    draw = np.random.default_rng(bench.seed)
    for batch in bench.look(model, records, list(readers)):
        for name, value in batch.items():
            rows = value.reshape(-1, value.shape[-1])
            kept[name].append(rows[draw.permutation(len(rows))[:_SAMPLE]])
            both = np.stack([rows.min(0), rows.max(0)])
            before = ends.get(name, both)
            ends[name] = np.stack([np.minimum(before[0], both[0]), np.maximum(before[1], both[1])])
    found = {}
    for number, (name, matrices) in enumerate(readers.items(), 1):
        matrix = np.concatenate([numpy_helper.to_array(constants[each]) for each in dict.fromkeys(matrices)], axis=1)
        found[name] = _scale(np.concatenate(kept[name]), ends[name], matrix)
        bench.progress("fitting", step=number, steps=len(readers))
    return found


def _scale(states: NDArray[Any], ends: NDArray[Any], matrix: NDArray[Any]) -> ActivationRange:
    """The scale by which the product of these states with a matrix lies nearest to what it is in float32.

    `ends` are the least and the largest value seen of each channel, shape (2, channels).
    """
    product = states @ matrix
    sizes, weights = np.maximum(np.abs(ends).max(0), 1e-5), np.maximum(np.abs(matrix).max(1), 1e-5)
    best: tuple[float, ActivationRange] | None = None
    for strength in (None, *_STRENGTHS):
        spread = None if strength is None else (sizes**strength / weights ** (1 - strength)).astype(np.float32)
        even, inner = (states, matrix) if spread is None else (states / spread, matrix * spread[:, None])
        low, high = _range(even, ends if spread is None else ends / spread)
        whole, step = rounded(inner, 127, axis=0)
        error = float(np.square(_held(even, low, high) @ (whole * step) - product, dtype=np.float64).mean())
        if best is None or error < best[0] * (_WORTH if best[1].spread is None else 1.0):
            best = error, ActivationRange(low, high, spread)
    assert best is not None
    return best[1]


def _range(values: NDArray[Any], ends: NDArray[Any]) -> tuple[float, float]:
    """The range, 0 included, whose 256 steps lie nearest to the values on average."""
    low, high = min(0.0, float(ends.min())), max(0.0, float(ends.max()))
    cut = min(_CUTS, key=lambda share: float(np.square(_held(values, low * share, high * share) - values, dtype=np.float64).sum()))
    return low * float(cut), high * float(cut)


def _steps(low: float, high: float) -> tuple[float, float]:
    """The size of one of 256 steps, and the whole number that stands for 0."""
    step = max(high - low, 1e-8) / 255
    return step, float(np.clip(np.rint(-low / step), 0, 255))


def _held(values: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """The values as 8 bits hold them."""
    step, zero = _steps(low, high)
    held: NDArray[Any] = (np.clip(np.rint(values / step) + zero, 0, 255) - zero) * step
    return held.astype(np.float32)


def _fewest(
    model: StandaloneModel,
    made: Callable[[Iterable[str]], StandaloneModel],
    places: Sequence[str],
    bench: CompressionContext,
    records: Sequence[Record],
) -> set[str]:
    """The sites to be left: none of them can be given up without failing the gate; all where nothing less passes.

    Sites are ranked by how much nearer the outputs come to those of float32 when each alone is left; then as many of the first
    are taken as the gate asks for, and each that turns out not to be needed is given back.
    """
    records = records[:_RANKED]
    expected = bench.answer(model, records)

    def distance(left: Iterable[str]) -> float:
        found = bench.answer(made(left), records)
        return float(np.mean([np.square(a - b).mean() for a, b in zip(expected, found, strict=True)]))

    gains: dict[str, float] = {}
    for number, place in enumerate(places, 1):
        gains[place] = -distance([place])
        bench.progress("searching", step=number, steps=len(places))
    ranked = sorted(places, key=lambda place: gains[place], reverse=True)
    number = 1
    while number < len(ranked) and not bench.accepts(made(ranked[:number])):
        number *= 2
    low, high = number // 2, min(number, len(ranked))
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if bench.accepts(made(ranked[:middle])) else (middle, high)
    left = ranked[:high]
    for place in reversed(ranked[: high - 1]):
        fewer = [other for other in left if other != place]
        if len(left) > 1 and bench.accepts(made(fewer)):
            left = fewer
    bench.progress("left", sites=", ".join(left), count=len(left), of=len(places))
    return set(left)
