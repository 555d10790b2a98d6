"""Behind a view, quantize again what is on a quantizer's grid already.

    QuantizeLinear [-> Clip] -> DequantizeLinear [-> views] -> view

onnxruntime moves DequantizeLinear past Reshape, Transpose and the like, but not past a node of several outputs: what reads a
part of a Split computes in float. With a quantizer of the same scale, zero point and ends behind every part Split passes
integers on. Of int8 it must not move any itself: the QuantizeLinear that it writes behind a view says int8 (from opset 21 on),
and another of its optimizers makes uint8 of the zero point alone. Values on the grid stay what they are. Preconditions: one
scale, the same at both ends.
"""

from collections.abc import Collection

import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name, take_name
from mpq_onnx.graph.operators import is_pass_through, is_standard
from mpq_onnx.graph.quantized_tensors import mark_quantized
from mpq_onnx.graph.quantizers import Quantizer, quantizer_behind


class RepeatQuantizersPass(ir.passes.InPlacePass):
    """See the module."""

    def __init__(self, views: Collection[str], types: Collection[ir.DataType]) -> None:
        """Args: views: operators behind which quantizers are repeated. types: of the integers in between."""
        super().__init__()
        self.views, self.types = views, types

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for view in tuple(model.graph):
            if view.op_type not in self.views or not is_standard(view) or not is_pass_through(view):
                continue
            found = quantizer_behind(view.inputs[0])  # type: ignore[arg-type]
            if found is None or found.dtype not in self.types or not _can_repeat(found):
                continue
            for part in view.outputs:
                if part.uses() or part.is_graph_output():
                    _repeat(model.graph, view, part, found)
                    changed = True
        return ir.passes.PassResult(model, modified=changed)


def _can_repeat(found: Quantizer) -> bool:
    is_linear = found.quantize is not None and found.dequantize is not None and not found.is_per_example
    return is_linear and found.ends_agree and found.scales == 1 and found.real_limits is None


def _repeat(graph: ir.Graph, view: ir.Node, part: ir.Value, found: Quantizer) -> None:
    """Send all readers of `part` to what comes out of a copy of the quantizer."""
    assert found.quantize is not None and found.dequantize is not None
    last = found.dequantize
    chain = [last]
    while chain[0] is not found.quantize:
        before = chain[0].inputs[0].producer()  # type: ignore[union-attr]
        assert before is not None
        chain.insert(0, before)
    uses, value, nodes = tuple(part.uses()), part, []
    for each in chain:
        name = f"{part.name}_{each.op_type}"
        operands = [value, *each.inputs[1:]]
        attributes = list(each.attributes.values())
        copy = ir.Node("", each.op_type, operands, attributes, name=fresh_node_name(graph, name))
        value = copy.outputs[0]
        value.name, value.type = fresh_name(graph, name), each.outputs[0].type
        nodes.append(copy)
    value.shape = part.shape
    mark_quantized(nodes[-1], str(part.name))
    graph.insert_after(view, nodes)
    for user, index in uses:
        user.replace_input_with(index, value)
    for position, output in enumerate(graph.outputs):
        if output is part:
            take_name(graph, value, part, f"{part.name}_seen")
            graph.outputs[position] = value
