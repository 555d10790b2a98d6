"""What QONNX computes for its Quant operators, in operators that onnxruntime has (qonnx.custom_op.general.intquant)."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.model_file import add_initializer, constant_array
from mpq_onnx.passes.put_in_place import put_in_place


def in_standard_operators(model: ir.Model) -> None:
    """Put (clip(round(x / scale + zero_point), lowest, highest) - zero_point) * scale in the place of every Quant."""
    for node in [each for each in model.graph if each.op_type == "Quant"]:
        x, scale, zero_point, width = node.inputs
        assert width is not None
        signed, narrow = (node.attributes.get_int(name, 0) for name in ("signed", "narrow"))
        ends = _ends(float(constant_array(width).reshape(())), bool(signed), bool(narrow))
        low, high = (
            add_initializer(model.graph, f"{node.name}_{name}", np.array(end, np.float32))
            for name, end in zip(("low", "high"), ends, strict=True)
        )
        steps = ir.node("Div", [x, scale])
        moved = ir.node("Add", [steps.outputs[0], zero_point])
        clipped = ir.node("Clip", [moved.outputs[0], low, high])
        rounded = ir.node("Round", clipped.outputs)
        distance = ir.node("Sub", [rounded.outputs[0], zero_point])
        real = ir.node("Mul", [distance.outputs[0], scale])
        put_in_place(model.graph, node, [steps, moved, clipped, rounded, distance, real], real)


def _ends(width: float, signed: bool, narrow: bool) -> tuple[float, float]:
    """The lowest and the highest integer of `width` bits."""
    if signed:
        half = 2 ** (width - 1)
        return -half + narrow, half - 1
    return 0.0, 2**width - 1 - narrow
