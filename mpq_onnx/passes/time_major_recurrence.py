"""Recurrent layers with the batch first (layout = 1, which onnxruntime has no kernels for) as layers with time first."""

import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name, take_name
from mpq_onnx.graph.operators import RECURRENT_OPS, is_standard

TRANSPOSED_INPUTS = (0, 5, 6)
"""X, initial_h, initial_c."""
SWAPPED = (1, 0, 2)
"""Of X and states: the same way back."""
FROM_TIME_FIRST = (2, 0, 1, 3)
"""Y [time, directions, batch, hidden] -> [batch, time, directions, hidden]."""


class TimeMajorRecurrencePass(ir.passes.InPlacePass):
    """Give every recurrent layer layout 0."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = [
            node
            for node in model.graph.all_nodes()
            if node.op_type in RECURRENT_OPS
            and is_standard(node)
            and node.attributes.get_int("layout", 0) == 1
        ]
        for node in nodes:
            _make_time_major(model.graph, node)
        return ir.passes.PassResult(model, modified=bool(nodes))


def _make_time_major(main: ir.Graph, node: ir.Node) -> None:
    graph = node.graph
    assert graph is not None
    del node.attributes["layout"]
    for index in TRANSPOSED_INPUTS:
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None or not value.name:
            continue
        name = fresh_node_name(main, f"{node.name}_input_{index}")
        before = ir.node("Transpose", [value], {"perm": SWAPPED}, name=name)
        before.outputs[0].name = fresh_name(main, name)
        before.outputs[0].dtype = value.dtype  # type: ignore[assignment]
        graph.insert_before(node, before)
        node.replace_input_with(index, before.outputs[0])
    for index, output in enumerate(node.outputs):
        if not output.name:
            continue
        perm = SWAPPED if index else FROM_TIME_FIRST
        name = fresh_node_name(main, f"{node.name}_output_{index}")
        after = ir.node("Transpose", [output], {"perm": perm}, name=name)
        result = after.outputs[0]
        result.type, result.shape = output.type, output.shape
        output.shape = None
        take_name(main, result, output, f"{output.name}_time_first")
        readers = [use for use in output.uses() if use.node is not after]
        for use in readers:
            use.node.replace_input_with(use.idx, result)
        for position, value in enumerate(list(graph.outputs)):
            if value is output:
                graph.outputs[position] = result
        graph.insert_after(node, after)
