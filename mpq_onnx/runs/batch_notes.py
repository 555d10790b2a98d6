"""Files that take the range of an activation over all examples of a batch: said beside figures that hang on the batch size."""

import onnx_ir as ir

from mpq_onnx.graph.contributed import DOMAIN
from mpq_onnx.graph.operators import is_standard

WHOLE_BATCH = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})
"""Of ONNX and of com.microsoft. Ours take a range an example."""


def batch_notes(model: ir.Model) -> tuple[str, ...]:
    """A line where there are any; a batch of one is no other than what a device sees."""
    found = [
        node
        for node in model.graph.all_nodes()
        if node.op_type in WHOLE_BATCH and (is_standard(node) or node.domain == DOMAIN)
    ]
    if not found:
        return ()
    kinds = ", ".join(sorted({node.op_type for node in found}))
    return (
        f"{len(found)} ranges are taken over all examples of a batch ({kinds}): figures hang on --batch-size; a device's own"
        " are those at 1",
    )
