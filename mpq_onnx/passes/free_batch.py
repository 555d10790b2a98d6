"""Open the batch axis of a graph that was exported for one batch size.

Inputs, outputs and the targets of Reshape name the batch size where exporters write it down. Whether the graph then computes
the same for any batch is for the caller to check: a Reshape may have meant something else.
"""

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from mpq_onnx.model_file import add_initializer

BATCH = "batch"
COPIED = 0
"""In a Reshape's target: the input's own length along this axis."""


class FreeBatchPass(ir.passes.InPlacePass):
    """Make the first axis of every input `batch`; leaves a graph alone whose inputs do not share one fixed first axis."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        inputs = [value for value in graph.inputs if value.name not in graph.initializers]
        sizes = {value.shape[0] if value.shape else None for value in inputs}
        size = sizes.pop() if len(sizes) == 1 else None
        if not isinstance(size, int):
            return ir.passes.PassResult(model, modified=False)
        for value in inputs:
            value.shape = ir.Shape([BATCH, *value.shape[1:]])  # type: ignore[index]
        for node in graph:
            if node.op_type == "Reshape" and not node.attributes.get_int("allowzero", 0):
                _free_target(graph, node, size)
        outputs = set(graph.outputs)
        for node in graph:
            for value in node.outputs:
                if value in outputs and value.shape and value.shape[0] == size:
                    value.shape = ir.Shape([BATCH, *value.shape[1:]])
                elif value not in outputs:
                    value.shape = None
        common.ShapeInferencePass()(model)
        return ir.passes.PassResult(model, modified=True)


def _free_target(graph: ir.Graph, node: ir.Node, size: int) -> None:
    data, target = node.inputs
    if (
        data is None
        or target is None
        or target.const_value is None
        or not data.shape
        or data.shape[0] != size
    ):
        return
    wanted = target.const_value.numpy()
    if len(wanted) and wanted[0] == size:
        free = np.array([COPIED, *wanted[1:]], np.int64)
        node.replace_input_with(1, add_initializer(graph, f"{node.name}_free_shape", free))
