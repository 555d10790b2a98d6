"""Normalization with fixed statistics behind a multiply-accumulate, taken apart as Keras and TensorFlow exports do."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name
from mpq_onnx.passes.fusing.affine import AFFINE, Affine, affine_behind, is_followed_by_affine
from mpq_onnx.passes.fusing.reading import ARITHMETIC, ancestors, constant_array, is_closed, producer
from mpq_onnx.passes.fusing.root_rule import Build, RootRule

FARTHEST = 16
"""Values looked at on the way back; BatchNormalization taken apart is five nodes."""


class AffineIntoWeightsRule(RootRule):
    """Constants added to and multiplied with the output of a Conv, ConvTranspose, Gemm or MatMul -> its weight and bias

    One value a channel, or one for all. A MatMul keeps one Add behind it, which is how its bias is written. Weights that
    other nodes read too stay as they are. The layer keeps its name.
    """

    _layer: ir.Node | None = None
    """The one that was found last; it goes where its successor is put."""

    def find(self, root: ir.Node) -> Build | None:
        if is_followed_by_affine(root):
            return None
        output = root.outputs[0]
        for value in ancestors(output, FARTHEST, ARITHMETIC):
            node = producer(value)
            if node is None or node.op_type not in FOLDS or not has_own_weight(node) or value is output:
                continue
            found = affine_behind(value, output)
            if found is not None and found.is_finite and is_closed(root, {*found.interior, node}):
                self._layer = node
                return _fold(node, found)
        return None

    def rewrite(self, op: Any, root: ir.Value, **matched: Any) -> ir.Value:
        output = super().rewrite(op, root, **matched)
        for node in op.nodes:
            if node.op_type in FOLDS and self._layer is not None and self._layer.name:
                node.name, self._layer.name = self._layer.name, f"{self._layer.name}_replaced"
        return output


def _fold(node: ir.Node, affine: Affine) -> Build | None:
    shape = node.outputs[0].shape
    weight = node.inputs[1]
    if shape is None or weight is None or weight.const_value is None:
        return None
    axis = output_channel_axis(node.op_type, len(shape))
    channels = shape[axis]
    if not isinstance(channels, int) or not affine.varies_along(axis, len(shape)):
        return None
    if node.op_type == "MatMul" and (affine.scale == 1).all():
        return None
    scale, bias = (np.broadcast_to(each.reshape(-1), (channels,)) for each in (affine.scale, affine.bias))
    spread = Affine(scale, bias, affine.interior)
    return FOLDS[node.op_type](node, weight.const_value.numpy(), spread)


def output_channel_axis(op_type: str, rank: int) -> int:
    """The axis of the channels in the output, of `rank`, of an operator in FOLDS."""
    return 1 if op_type in ("Conv", "ConvTranspose") else rank - 1


def has_own_weight(node: ir.Node) -> bool:
    """True where nobody else reads the node's constant weight."""
    weight = node.inputs[1]
    return (
        weight is not None
        and weight.const_value is not None
        and weight.const_value.dtype.is_floating_point()
        and not weight.is_graph_input()
        and not weight.is_graph_output()
        and len(weight.uses()) == 1
        and (node.inputs[0] is not None and node.inputs[0].const_value is None)
    )


def _conv(node: ir.Node, weight: np.ndarray, affine: Affine) -> Build | None:
    return _with_bias(node, weight * _along(affine.scale, 0, weight), affine)


def _conv_transpose(node: ir.Node, weight: np.ndarray, affine: Affine) -> Build | None:
    """Weights are [in, out / groups, ...], the inputs of a group next to each other."""
    groups = node.attributes.get_int("group", 1) or 1
    grouped = weight.reshape(groups, -1, *weight.shape[1:])
    scale = affine.scale.reshape(groups, 1, -1, *[1] * (weight.ndim - 2)).astype(weight.dtype)
    return _with_bias(node, (grouped * scale).reshape(weight.shape), affine)


def _gemm(node: ir.Node, weight: np.ndarray, affine: Affine) -> Build | None:
    axis = 0 if node.attributes.get_int("transB", 0) else 1
    return _with_bias(node, weight * _along(affine.scale, axis, weight), affine)


def _matmul(node: ir.Node, weight: np.ndarray, affine: Affine) -> Build | None:
    if weight.ndim != 2:
        return None
    scaled = weight * _along(affine.scale, 1, weight)

    def build(op: Any) -> ir.Value:
        y = op.MatMul(node.inputs[0], _constant(op, scaled, node, 1))
        if not affine.bias.any():
            return y
        return op.Add(y, _constant(op, affine.bias.astype(weight.dtype), node, 2))

    return build


def _with_bias(node: ir.Node, weight: np.ndarray, affine: Affine) -> Build | None:
    given = node.inputs[2] if len(node.inputs) > 2 else None
    bias = np.array(0.0) if given is None else constant_array(given)
    if bias is None or (
        bias.size not in (1, len(affine.bias)) or (bias.ndim and bias.shape[-1] != bias.size)
    ):
        return None
    beta = node.attributes.get_float("beta", 1.0) if node.op_type == "Gemm" else 1.0
    total = np.broadcast_to(beta * bias.reshape(-1) * affine.scale + affine.bias, affine.bias.shape)
    attributes = {name: each for name, each in node.attributes.items() if name != "beta"}

    def build(op: Any) -> ir.Value:
        parts = [_constant(op, weight, node, 1)]
        if total.any() or given is not None:
            parts.append(_constant(op, total.astype(weight.dtype), node, 2))
        return getattr(op, node.op_type)(node.inputs[0], *parts, **attributes)

    return build


def _along(scale: np.ndarray, axis: int, weight: np.ndarray) -> np.ndarray:
    shape = [1] * weight.ndim
    shape[axis] = -1
    return scale.reshape(shape).astype(weight.dtype)


def _constant(op: Any, array: np.ndarray, node: ir.Node, index: int) -> ir.Value:
    """A constant under the name of the input that it stands in for."""
    given = node.inputs[index] if index < len(node.inputs) else None
    name = str(given.name) if given is not None and given.name else f"{node.outputs[0].name}_offset"
    if given is None and isinstance(node.graph, ir.Graph):
        name = fresh_name(node.graph, name)
    return op.Constant(value=ir.tensor(np.ascontiguousarray(array), name=name), _outputs=[name])


FOLDS: dict[str, Callable[[ir.Node, np.ndarray, Affine], Build | None]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
RULES = AffineIntoWeightsRule.rules(sorted({*AFFINE, "BatchNormalization"}))
