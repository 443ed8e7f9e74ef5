"""Edits ONNX graphs without torch: selects outputs, makes shapes constant, and splits a graph between layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from vertune.core.banks import states


def with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """Return a copy of the graph whose outputs are only the tensors with these names."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.output[:]
    for name in names:
        made.graph.output.add().name = name
    return made


def fold_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a faster copy of the graph, in which Reshape nodes have constant shapes where this is possible.

    The trace of `x.view(rows, tokens, heads, -1)` contains nodes that read the sizes `rows` and `tokens` from some
    tensor at run time. In the shape of an ONNX Reshape node, 0 means that the size at this index of the node's input is
    kept. So these sizes are replaced by 0. This function does not prove that the tensor from which a size was read has
    the same size as the node's input. Therefore the caller must check that both graphs have the same outputs.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    makers = {name: node for node in graph.node for name in node.output}
    for node in list(graph.node):
        shape = _constant_shape(node.input[1], makers) if node.op_type == "Reshape" else None
        if shape is not None:
            name = f"{node.output[0]}_shape"
            graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
            node.input[1] = name
    _remove_unused(graph)
    return made


def _constant_shape(name: str, makers: dict[str, onnx.NodeProto]) -> list[int] | None:
    """Return a constant that can replace the computed shape of a Reshape node; None if there is none.

    In the constant, 0 keeps the size at the same index of the node's input. `name` is the tensor that contains the
    computed shape; `makers` maps the name of each tensor to the node that computes it.
    """
    node = makers.get(name)
    if node is None or node.op_type != "Concat":
        return None
    shape: list[int] = []
    for place, piece in enumerate(node.input):
        size = _size(makers.get(piece), place, makers)
        if size is None:
            return None
        shape.append(size)
    return shape


def _size(node: onnx.NodeProto | None, place: int, makers: dict[str, onnx.NodeProto]) -> int | None:
    """Return one entry of a constant shape: a size, or 0 to keep the input's size; None if no constant fits.

    `node` computes the entry, and `place` is its index in the shape. `makers` maps the name of each tensor to the node
    that computes it.
    """
    if node is None:
        return None
    if node.op_type == "Constant":
        value = numpy_helper.to_array(node.attribute[0].t)
        return int(value.reshape(-1)[0]) if value.size == 1 else None
    gather = makers.get(node.input[0]) if node.op_type == "Unsqueeze" else None
    if gather is None or gather.op_type != "Gather":
        return None
    source, index = makers.get(gather.input[0]), makers.get(gather.input[1])
    if source is None or source.op_type != "Shape" or index is None or index.op_type != "Constant":
        return None
    return 0 if int(numpy_helper.to_array(index.attribute[0].t)) == place else None


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove the nodes and constants of the graph that do not affect any of its outputs."""
    needed = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    kept_tensors = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(kept_tensors)


def split_at(whole: onnx.ModelProto, depths: Sequence[int]) -> list[tuple[int | None, int, onnx.ModelProto]]:
    """Split the graph of a pretrained model into segments of consecutive layers.

    The first segment reads the batch; each other segment also reads the hidden states that the previous segment
    outputs. `depths` contains the numbers of the layers (0 for the embeddings) after which to split; the last segment
    always ends at the last layer. Returns three values for each segment: the number of the layer before it (None for
    the first segment), the number of its last layer, and its graph.
    """
    from onnx.utils import Extractor

    last = len(whole.graph.output) - 1
    taken = [entry.name for entry in whole.graph.input]
    extractor = Extractor(whole)
    found: list[tuple[int | None, int, onnx.ModelProto]] = []
    start: int | None = None
    for end in [*sorted(set(depths) - {last}), last]:
        made = extractor.extract_model([*taken, *([] if start is None else [states(start)])], [states(end)])
        read = {name for node in made.graph.node for name in node.input}
        inputs = [entry for entry in made.graph.input if entry.name in read]
        del made.graph.input[:]
        made.graph.input.extend(inputs)
        found.append((start, end, made))
        start = end
    return found
