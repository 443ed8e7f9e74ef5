"""Whole numbers of 8 bits in the place of float32: weights a channel, activations a layer, word embeddings a row.

Scales of activations are learnt once from training texts (`static`), so that an answer never depends on the texts beside it in
a batch, and no pass over the activations is spent on finding them; or found anew in every batch (`dynamic`). What costs
accuracy is found by search and left in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.kinds import Bench, Compressor, Whole
from vertune.core.machine import features
from vertune.core.records import Record

if TYPE_CHECKING:
    import onnx

Ranges = dict[str, tuple[float, float]]
"""Least and largest value that each input of a product is to hold."""

_SAMPLE = 8192
"""Values of each activation that are kept of a batch."""
_CUTS = np.linspace(0.3, 1.0, 15)
"""Shares of the range seen that are tried as the range held: what lies beyond is rare, and a finer step serves the rest."""


class Int8(Compressor):
    """Options of int8."""

    works_on: ClassVar[Literal["torch", "onnx"]] = "onnx"

    activations: Literal["static", "dynamic"] = "static"
    """How activations get their scale: learnt from training texts once, or from the batch that is answered."""
    rows: int = Field(default=256, ge=8, le=10_000)
    """Training records that scales are learnt from, and that the search goes by."""
    bits: Literal["auto", 7, 8] = "auto"
    """Bits of a weight; auto is 8, and 7 on a processor without VNNI, whose sums of 16 bits would overflow."""
    keep: list[str] = Field(default=[])
    """Parts of names of layers that stay in float32 from the start, such as `layer.5` or `embeddings`."""
    search: bool = True
    """Whether layers are left in float32 where the whole in 8 bits does not pass the gate."""

    def shrink(self, model: Whole, bench: Bench) -> Whole:
        """The graph in 8 bits, or with the fewest layers in float32 that the gate asks for."""
        places = sites(model.body)
        rows = np.random.default_rng(bench.seed).permutation(len(bench.train))[: self.rows]
        records = [bench.train[row] for row in sorted(rows.tolist())]
        ranges = _ranges(model, bench, records, places) if self.activations == "static" else None
        kept = {place for place in places if any(part in place for part in self.keep)}

        def made(left: Iterable[str]) -> Whole:
            return Whole(model.encoder, model.task, quantised(model.body, ranges, {*kept, *left}, self._levels()))

        everything = made(())
        if not self.search or bench.accepts(everything):
            return everything
        return made(_fewest(model, made, [place for place in places if place not in kept], bench, records))

    def _levels(self) -> int:
        """Largest whole number of a weight."""
        vnni = any(name in features() for name in ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp"))
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


def quantised(graph: onnx.ModelProto, ranges: Ranges | None, left: set[str], levels: int) -> onnx.ModelProto:
    """A copy in 8 bits but for the sites in `left`; without ranges, those of each batch are used."""
    return _Rewriting(graph, ranges, levels).run(left)


class _Rewriting:
    """One graph while it is written anew, node by node."""

    def __init__(self, graph: onnx.ModelProto, ranges: Ranges | None, levels: int) -> None:
        self.made = copy.deepcopy(graph)
        self.ranges, self.levels = ranges, levels
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

        weight = node.input[1]
        if f"{weight}_int8" not in self.added:
            whole, scale = rounded(self._value(weight), self.levels, axis=0)
            self.added |= {f"{weight}_int8": whole, f"{weight}_scale": scale}
        states, scale_of, zero = self._activation(node.input[0])
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
        if self.ranges is None:
            self.nodes.append(helper.make_node("DynamicQuantizeLinear", [name], list(names)))
        else:
            low, high = self.ranges[name]
            scale = max(high - low, 1e-8) / 255
            self.added |= {names[1]: np.array(scale, np.float32), names[2]: np.array(np.clip(np.rint(-low / scale), 0, 255), np.uint8)}
            self.nodes.append(helper.make_node("QuantizeLinear", [name, names[1], names[2]], [names[0]]))
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


def _ranges(model: Whole, bench: Bench, records: Sequence[Record], places: dict[str, str]) -> Ranges:
    """The range of each activation that loses least, from what the float graph computes on these records."""
    names = [node.input[0] for node in model.body.graph.node if node.op_type == "MatMul" and places.get(_site(node)) == "product"]
    names = list(dict.fromkeys(names))
    seen: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    draw = np.random.default_rng(bench.seed)
    for batch in bench.look(model, records, names):
        for name, value in batch.items():
            flat = value.reshape(-1)
            seen[name] += [draw.choice(flat, min(_SAMPLE, len(flat)), replace=False), np.array([flat.min(), flat.max()])]
    return {name: _best(np.concatenate(values)) for name, values in seen.items()}


def _best(values: NDArray[Any]) -> tuple[float, float]:
    """The range, 0 included, whose 256 steps lie nearest to the values on average."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))

    def error(cut: float) -> float:
        scale = max((high - low) * cut, 1e-8) / 255
        zero = np.rint(-low * cut / scale)
        held = (np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale
        return float(np.square(held - values, dtype=np.float64).sum())

    cut = min(_CUTS, key=error)
    return low * cut, high * cut


def _fewest(
    model: Whole, made: Callable[[Iterable[str]], Whole], places: Sequence[str], bench: Bench, records: Sequence[Record]
) -> set[str]:
    """The sites to be left: none of them can be given up without failing the gate; all where nothing less passes.

    Sites are ranked by how much nearer the outputs come to those of float32 when each alone is left; then as many of the first
    are taken as the gate asks for, and each that turns out not to be needed is given back.
    """
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
