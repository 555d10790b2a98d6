"""Upsample, and Resize of opset 10: pixel x of the output lies at x / scale of the input.

The nearest pixel is the one below when an axis grows and the one above when it shrinks, as onnxruntime has it. ONNX's converter
leaves out the coordinates, which since opset 11 lie at (x + 0.5) / scale - 0.5 unless said otherwise.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

CHANGED_IN = 11


def restate(node: ir.Node, opset: int) -> Sequence[ir.Node] | None:
    """Resize with the coordinates said; two of them where nearest pixels of some axes grow and of others shrink."""
    if (node.op_type == "Resize" and opset >= CHANGED_IN) or node.inputs[0] is None:
        return None
    mode = node.attributes.get_string("mode", "nearest")
    nodes: list[ir.Node] = []
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        scales, factors = node.inputs[1], _constant(node.inputs[1])
    else:
        factors = np.array(node.attributes["scales"].as_floats(), np.float32)
        scales = _scales(nodes, factors)
    if mode != "nearest":
        return [*nodes, _resize(node.inputs[0], scales, {"mode": "linear"})]
    if factors is None or (factors >= 1).all():
        return [*nodes, _resize(node.inputs[0], scales, {"mode": "nearest", "nearest_mode": "floor"})]
    growing = _resize(
        node.inputs[0],
        _scales(nodes, np.maximum(factors, 1)),
        {"mode": "nearest", "nearest_mode": "floor"},
    )
    shrinking = _resize(
        growing.outputs[0],
        _scales(nodes, np.minimum(factors, 1)),
        {"mode": "nearest", "nearest_mode": "ceil"},
    )
    return [*nodes, growing, shrinking] if (factors > 1).any() else [*nodes, _from(shrinking, node.inputs[0])]


def _from(node: ir.Node, data: ir.Value) -> ir.Node:
    node.replace_input_with(0, data)
    return node


def _resize(data: ir.Value, scales: ir.Value, attributes: dict[str, str]) -> ir.Node:
    return ir.node(
        "Resize", [data, None, scales], {"coordinate_transformation_mode": "asymmetric", **attributes}
    )


def _scales(nodes: list[ir.Node], factors: np.ndarray) -> ir.Value:
    """A constant, whose node goes into `nodes`."""
    nodes.append(ir.node("Constant", [], {"value": ir.tensor(factors.astype(np.float32))}))
    return nodes[-1].outputs[0]


def _constant(value: ir.Value) -> np.ndarray | None:
    tensor = ir.convenience.get_const_tensor(value)
    return tensor.numpy() if tensor is not None else None
