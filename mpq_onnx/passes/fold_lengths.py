"""Lengths that a graph picks out of Shape become constants where they are known, though other axes are open."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.model_file import add_initializer


class FoldLengthsPass(ir.passes.InPlacePass):
    """Gather of a Shape, by constant indices of fixed axes, in all graphs."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [
            (node, lengths)
            for node in model.graph.all_nodes()
            if node.op_type == "Gather" and (lengths := _lengths(node)) is not None
        ]
        for node, lengths in found:
            value = node.outputs[0]
            constant = add_initializer(model.graph, f"{value.name}_length", lengths)
            ir.convenience.replace_all_uses_with(value, constant)
        return ir.passes.PassResult(model, modified=bool(found))


def _lengths(node: ir.Node) -> np.ndarray | None:
    source, indices = node.inputs[:2]
    shape_node = source.producer() if source is not None else None
    tensor = ir.convenience.get_const_tensor(indices) if indices is not None else None
    if (
        shape_node is None
        or shape_node.op_type != "Shape"
        or tensor is None
        or node.outputs[0].is_graph_output()
    ):
        return None
    data = shape_node.inputs[0]
    if data is None or data.shape is None:
        return None
    start, end = (
        shape_node.attributes.get_int("start", 0),
        shape_node.attributes.get_int("end", len(data.shape)),
    )
    sizes = list(data.shape)[start:end]
    picks = tensor.numpy().astype(np.int64)
    if not sizes or (picks >= len(sizes)).any() or (picks < -len(sizes)).any():
        return None
    picked = [sizes[pick] for pick in picks.reshape(-1)]
    if not all(isinstance(size, int) for size in picked):
        return None
    return np.array(picked, np.int64).reshape(picks.shape)
