"""What a constant is taken away from, its negative is added to: one way to write biases, means and positions."""

import onnx_ir as ir

from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_standard
from mpq_onnx.passes.put_in_place import put_in_place


class SubtractedConstantsPass(ir.passes.InPlacePass):
    """x - c becomes x + (-c), the same number in floating point."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in tuple(model.graph):
            if node.op_type == "Sub" and is_standard(node) and _takes_away_floats(node):
                constant = node.inputs[1]
                assert constant is not None and constant.const_value is not None
                negative = add_initializer(
                    model.graph, f"{constant.name}_negative", -constant.const_value.numpy()
                )
                added = ir.node("Add", [node.inputs[0], negative])
                put_in_place(model.graph, node, [added], added)
                changed = True
        return ir.passes.PassResult(model, modified=changed)


def _takes_away_floats(node: ir.Node) -> bool:
    data, constant = node.inputs
    if data is None or data.const_value is not None or constant is None or constant.const_value is None:
        return False
    return constant.const_value.dtype.is_floating_point()
