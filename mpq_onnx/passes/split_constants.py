"""A Split of a constant becomes constants: exporters cut the weights of attention out of a packed one that way."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_constant, is_standard


class SplitConstantsPass(ir.passes.InPlacePass):
    """See the module; parts that the model gives out stay."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [node for node in model.graph.all_nodes() if _is_cut(node)]
        for node in found:
            for output, part in zip(node.outputs, _parts(node), strict=True):
                constant = add_initializer(model.graph, f"{output.name}_part", np.ascontiguousarray(part))
                ir.convenience.replace_all_uses_with(output, constant)
        return ir.passes.PassResult(model, modified=bool(found))


def _is_cut(node: ir.Node) -> bool:
    if node.op_type != "Split" or not is_standard(node) or not is_constant(node.inputs[0]):
        return False
    sizes = node.inputs[1] if len(node.inputs) > 1 else None
    is_read = any(output.uses() for output in node.outputs)
    return (
        is_read
        and (sizes is None or is_constant(sizes))
        and not any(each.is_graph_output() for each in node.outputs)
    )


def _parts(node: ir.Node) -> list[np.ndarray]:
    """Of the sizes that are given, else equal ones, of which the last may be smaller."""
    data = node.inputs[0].const_value.numpy()  # type: ignore[union-attr]
    axis = node.attributes.get_int("axis", 0) % data.ndim
    given = node.inputs[1] if len(node.inputs) > 1 else None
    if given is not None:
        ends = np.cumsum(given.const_value.numpy())[:-1]  # type: ignore[union-attr]
    else:
        size = -(-data.shape[axis] // len(node.outputs))
        ends = np.arange(1, len(node.outputs)) * size
    return np.split(data, ends, axis)
