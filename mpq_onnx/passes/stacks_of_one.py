"""A constant multiplied as a stack of one matrix, [1, k, n], is that matrix: its channels may have scales of their own."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_standard, rank_of

MATRIX = 2


class StacksOfOnePass(ir.passes.InPlacePass):
    """Where MatMuls alone read it, with data of as many axes at least: their outputs keep their shapes."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for value in list(model.graph.initializers.values()):
            if _is_stack_of_one(value) and all(
                _keeps_its_shape(use.node, use.idx, value) for use in value.uses()
            ):
                assert value.const_value is not None
                array = np.ascontiguousarray(
                    value.const_value.numpy().reshape(value.const_value.shape[-MATRIX:])
                )
                matrix = add_initializer(model.graph, f"{value.name}_matrix", array)
                for use in list(value.uses()):
                    use.node.replace_input_with(use.idx, matrix)
                del model.graph.initializers[str(value.name)]
                changed = True
        return ir.passes.PassResult(model, modified=changed)


def _is_stack_of_one(value: ir.Value) -> bool:
    shape = () if value.const_value is None else tuple(value.const_value.shape.numpy())
    return (
        len(shape) > MATRIX
        and set(shape[:-MATRIX]) == {1}
        and bool(value.uses())
        and not value.is_graph_output()
    )


def _keeps_its_shape(node: ir.Node, index: int, stack: ir.Value) -> bool:
    """Its output has the same axes with the matrix in place of the stack."""
    data, own = rank_of(node.inputs[0]), rank_of(stack)
    is_product = node.op_type == "MatMul" and is_standard(node) and index == 1
    return is_product and data is not None and own is not None and data >= own
