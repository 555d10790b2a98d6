"""What the constants of a network must not be: weights of NaN or infinity, and ranges that no memory holds."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.errors import ModelError

LONGEST_RANGE = 2**28
"""Elements; ONNX's shape inference writes every Range of constants out."""


def check_weights(model: ir.Model, operators: tuple[str, ...]) -> None:
    """Raise ModelError, naming the tensor, unless all constants that nodes of `operators` read are finite."""
    read = ((node, value) for node in model.graph if node.op_type in operators for value in node.inputs)
    for node, value in read:
        constant = value.const_value if value is not None else None
        if constant is None or not constant.dtype.is_floating_point():
            continue
        if not np.isfinite(constant.numpy()).all():
            raise ModelError(
                f"tensor {constant.name} of node {node.name} holds NaN or infinity; train or export it again"
            )


def check_ranges(model: ir.Model) -> None:
    """Raise ModelError, naming the node, for a Range of constants that is longer than LONGEST_RANGE."""
    for node in model.graph.all_nodes():
        if node.op_type != "Range":
            continue
        constants = [ir.convenience.get_const_tensor(value) for value in node.inputs if value is not None]
        ends = [float(each.numpy().reshape(-1)[0]) for each in constants if each is not None and each.size]
        if len(ends) == 3 and ends[2] and not (ends[1] - ends[0]) / ends[2] <= LONGEST_RANGE:
            raise ModelError(f"node {node.name} (Range) makes more than {LONGEST_RANGE:,} elements")
