"""The range (largest minus smallest real value) of the quantizer that a value of a QDQ graph went through, per channel."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.mac import is_stored
from mpq_onnx.graph.operators import is_bookkeeping, is_constant, is_join, is_pass_through
from mpq_onnx.graph.quantized_tensors import marked_tensor, quantized_tensor
from mpq_onnx.ops.dynamic_quantize import DOMAIN as DYNAMIC_DOMAIN
from mpq_onnx.placement.clip_limits import constant_limits
from mpq_onnx.placement.graph_roles import FUSED_ACTIVATIONS
from mpq_onnx.quantization import SCHEMES, levels_of


def quantizer_range(value: ir.Value, stored_levels: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """float64 [1], or one per channel; None where no quantizer is found behind `value` and pass-through ops.

    Args:
        stored_levels: levels by weight, where fewer than the integer type has (see weight_levels).
    """
    current: ir.Value | None = value
    while current is not None:
        node = current.producer()
        if node is None:
            return None
        if node.op_type == "DequantizeLinear":
            return _dequantized_range(node, stored_levels)
        if not is_pass_through(node):
            return None
        current = node.inputs[0]
    return None


def quantizer_axis(value: ir.Value, rank: int) -> int | None:
    """The axis of a stored tensor of `rank` dimensions that its scales run along; None where views lie between."""
    node = value.producer()
    if node is None or node.op_type != "DequantizeLinear":
        return None
    return node.attributes.get_int("axis", 1) % rank


def weight_levels(
    weight_bits: Mapping[str, float | tuple[float, ...] | None], scheme: str
) -> dict[str, np.ndarray]:
    """Levels by weight tensor, from the widths by weight tensor of an allocation and its scheme (a name in SCHEMES)."""
    usable = SCHEMES[scheme].usable
    return {
        tensor: np.array([usable(levels_of(width)) for width in np.atleast_1d(bits)])
        for tensor, bits in weight_bits.items()
        if bits is not None
    }


def _dequantized_range(node: ir.Node, stored_levels: Mapping[str, np.ndarray]) -> np.ndarray | None:
    scale_value = node.inputs[1]
    if scale_value is None or scale_value.const_value is None:
        return None
    scale = np.abs(scale_value.const_value.numpy().astype(np.float64)).reshape(-1)
    name = quantized_tensor(node)
    integers = node.inputs[0]
    assert integers is not None
    if integers.const_value is not None:
        steps = stored_levels[name] - 1 if name in stored_levels else _steps(integers)
        return np.where(_is_all_zero(node, scale.size), 0.0, scale * steps)
    if name in stored_levels:
        return scale * (stored_levels[name] - 1)
    producer = integers.producer()
    if producer is not None and producer.op_type == "Clip":
        limits = constant_limits(producer)
        if limits is not None:
            return scale * (limits[1] - limits[0])
    if producer is not None and producer.op_type == "QuantizeLinear":
        source = producer.inputs[0]
        clip = source.producer() if source is not None else None
        limits = constant_limits(clip) if clip is not None and clip.op_type == "Clip" else None
        if limits is not None and scale.size == 1:
            # A Clip in float before Q narrows the range, unless it is a network's own activation beyond Q's range.
            return np.minimum(limits[1] - limits[0], scale * _steps(integers))
    return scale * _steps(integers)


def _is_all_zero(dequantize: ir.Node, scales: int) -> np.ndarray | bool:
    """bool [scales]: all stored integers are the zero point. Such a channel may have any scale, and has no range.

    One scale for a whole tensor is chosen by its other channels: it has no range where every channel is zero.
    """
    stored, _, zero_point = (*dequantize.inputs, None)[:3]
    assert stored is not None and stored.const_value is not None
    integers = stored.const_value.numpy().astype(np.int64)
    zeros = np.zeros(1, np.int64)
    if zero_point is not None:
        if zero_point.const_value is None:
            return False
        zeros = zero_point.const_value.numpy().astype(np.int64).reshape(-1)
    if scales == 1:
        return bool((integers == zeros[0]).all())
    axis = dequantize.attributes.get_int("axis", 1) if integers.ndim else 0
    if not -integers.ndim <= axis < integers.ndim or integers.shape[axis] != scales:
        return False  # blocks
    rows = np.moveaxis(integers, axis, 0).reshape(scales, -1)
    return np.asarray((rows == zeros[:, None]).all(axis=1))


def _steps(integers: ir.Value) -> float:
    """Levels of the integer type less one; without a known type, QuantizeLinear's default uint8."""
    dtype = integers.dtype if integers.dtype is not None else _zero_point_type(integers)
    return float(2.0**dtype.bitwidth - 1)


def _zero_point_type(integers: ir.Value) -> ir.DataType:
    producer = integers.producer()
    zero_point = producer.inputs[2] if producer is not None and len(producer.inputs) > 2 else None
    return zero_point.dtype if zero_point is not None and zero_point.dtype is not None else ir.DataType.UINT8


@dataclass(frozen=True)
class OutputQuantizer:
    """The quantizer that a node's output goes through, behind a fused activation."""

    tensor: str
    """What is quantized: the node's own output, or the activation's."""
    range: float


def output_quantizer(value: ir.Value) -> OutputQuantizer | None:
    """The first static quantizer after `value`, if only bias additions and fused activations lie between."""
    node = first_quantizer(value)
    found = None if node is None or node.domain == DYNAMIC_DOMAIN else _dequantizer(node)
    measured = None if found is None else _dequantized_range(found, {})
    if node is None or measured is None or node.inputs[0] is None:
        return None
    tensor = None if found is None else marked_tensor(found)
    return OutputQuantizer(tensor or str(node.inputs[0].name), float(measured.max()))


def first_quantizer(value: ir.Value) -> ir.Node | None:
    """The first quantizing node after `value`, static or dynamic, if only bias additions and fused activations lie between."""
    while True:
        readers = [use.node for use in value.uses()]
        for node in readers:
            if node.op_type == "QuantizeLinear" or node.domain == DYNAMIC_DOMAIN:
                return node
        if len(readers) != 1 or readers[0].op_type not in (*FUSED_ACTIVATIONS, "Add"):
            return None
        if readers[0].op_type == "Add" and not _adds_constant(readers[0]):
            return None
        value = readers[0].outputs[0]


def is_on_grid(value: ir.Value) -> bool:
    """True for values of quantizers: as they come from one, passed on, or side by side with others."""
    node = value.producer()
    if node is None:
        return False
    if node.op_type == "DequantizeLinear" or node.domain == DYNAMIC_DOMAIN:
        return True
    if is_pass_through(node) or node.op_type == "Relu":
        return node.inputs[0] is not None and is_on_grid(node.inputs[0])
    parts = [node.inputs[index] for index in range(len(node.inputs)) if not is_bookkeeping(node, index)]
    return is_join(node) and all(part is not None and (is_on_grid(part) or is_stored(part)) for part in parts)


def _adds_constant(node: ir.Node) -> bool:
    """An Add of a constant."""
    return any(is_constant(each) for each in node.inputs)


def _dequantizer(quantize: ir.Node) -> ir.Node | None:
    """The DequantizeLinear behind a QuantizeLinear and perhaps a Clip."""
    for use in quantize.outputs[0].uses():
        if use.node.op_type == "DequantizeLinear":
            return use.node
        if use.node.op_type == "Clip":
            return next(
                (each.node for each in use.node.outputs[0].uses() if each.node.op_type == "DequantizeLinear"),
                None,
            )
    return None
