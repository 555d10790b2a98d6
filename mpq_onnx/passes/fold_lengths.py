"""Lengths that a graph picks out of Shape become constants where they are known, though other axes are open."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.model_file import add_initializer

Length = int | str
"""Known, or open with a name: equal names are equal lengths."""


class FoldLengthsPass(ir.passes.InPlacePass):
    """Gather and Slice of a Shape, by constant indices of fixed axes, in all graphs."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [
            (node, lengths)
            for node in model.graph.all_nodes()
            if node.op_type in ("Gather", "Slice") and (lengths := _lengths(node)) is not None
        ]
        for node, lengths in found:
            value = node.outputs[0]
            constant = add_initializer(model.graph, f"{value.name}_length", lengths)
            ir.convenience.replace_all_uses_with(value, constant)
        return ir.passes.PassResult(model, modified=bool(found))


def lengths_of(shape: ir.Shape) -> list[Length | None]:
    """Of every axis; None where one is open and has no name."""
    return [size if isinstance(size, int) else size.value for size in shape]


def shape_lengths(node: ir.Node) -> list[Length | None] | None:
    """The lengths that a Shape gives; None for another node, and of data of unknown rank."""
    data = node.inputs[0] if node.op_type == "Shape" else None
    if data is None or data.shape is None:
        return None
    lengths = lengths_of(data.shape)
    return lengths[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(lengths))]


def _lengths(node: ir.Node) -> np.ndarray | None:
    source = node.inputs[0]
    shape_node = source.producer() if source is not None else None
    sizes = None if shape_node is None else shape_lengths(shape_node)
    if not sizes or node.outputs[0].is_graph_output():
        return None
    picks = _picks(node, len(sizes))
    if picks is None or (picks >= len(sizes)).any() or (picks < -len(sizes)).any():
        return None
    picked = [sizes[pick] for pick in picks.reshape(-1)]
    if not all(isinstance(size, int) for size in picked):
        return None
    return np.array(picked, np.int64).reshape(picks.shape)


def _picks(node: ir.Node, count: int) -> np.ndarray | None:
    """int64: the places that a Gather, or a Slice, takes out of `count`; None where they are computed."""
    given = {
        index: _constant(value) for index, value in enumerate(node.inputs) if index and value is not None
    }
    if any(each is None for each in given.values()):
        return None
    numbers = {index: each.astype(np.int64) for index, each in given.items() if each is not None}
    if node.op_type == "Gather":
        return numbers[1]
    start, end, step = (int(numbers[index].item()) if index in numbers else 1 for index in (1, 2, 4))
    return np.arange(count)[start:end:step]


def _constant(value: ir.Value) -> np.ndarray | None:
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()
