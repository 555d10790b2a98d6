"""Lengths that a graph picks out of Shape become constants where they are known, though other axes are open."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.model_file import add_initializer

PICKING = ("Gather", "Slice")
Length = int | str
"""Known, or open with a name: equal names are equal lengths."""


class FoldLengthsPass(ir.passes.InPlacePass):
    """Gather and Slice of a Shape, by constant indices of fixed axes, in all graphs."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [
            (node, lengths)
            for node in model.graph.all_nodes()
            if node.op_type in PICKING and (lengths := _lengths(node)) is not None
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
    """int64: what a Gather or a Slice picks, where all of it is known and no output of the model."""
    if node.outputs[0].is_graph_output():
        return None
    picked = _picked(node)
    if picked is None or not all(isinstance(size, int) for size in picked.reshape(-1)):
        return None
    return picked.astype(np.int64)


def _picked(node: ir.Node) -> np.ndarray | None:
    """Lengths, known and open ones, that a Gather or a Slice picks out of a Shape, or out of what another picked there."""
    sizes = None if node.inputs[0] is None else _sizes(node.inputs[0])
    if not sizes:
        return None
    picks = _picks(node, len(sizes))
    if picks is None or (picks >= len(sizes)).any() or (picks < -len(sizes)).any():
        return None
    lengths = np.array(sizes, object)
    return np.asarray(lengths[picks], object)


def _sizes(value: ir.Value) -> list[Length | None] | None:
    node = value.producer()
    if node is None:
        return None
    if node.op_type not in PICKING:
        return shape_lengths(node)
    picked = _picked(node)
    return list(picked) if isinstance(picked, np.ndarray) and picked.ndim == 1 else None


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
