"""The range (largest minus smallest real value) of the quantizer that a value of a QDQ graph went through, per channel."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from mpq_onnx.placement.graph_roles import is_pass_through
from mpq_onnx.quantization import levels_of

STORED_SUFFIX = "_dequantized"
"""What storage/ adds to the name of a weight that is read back from integers."""


def quantizer_range(value: ir.Value, stored_levels: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """float64 [1], or one per channel; None where no quantizer is found behind `value` and pass-through ops.

    Args:
        stored_levels: levels by name of the dequantized weight, where fewer than the integer type has (see weight_levels).
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


def weight_levels(weight_bits: Mapping[str, float | tuple[float, ...] | None]) -> dict[str, np.ndarray]:
    """Levels by dequantized weight, from the widths by weight tensor of an allocation."""
    return {
        f"{tensor}{STORED_SUFFIX}": np.array([levels_of(width) for width in np.atleast_1d(bits)])
        for tensor, bits in weight_bits.items()
        if bits is not None
    }


def _dequantized_range(node: ir.Node, stored_levels: Mapping[str, np.ndarray]) -> np.ndarray | None:
    scale_value = node.inputs[1]
    if scale_value is None or scale_value.const_value is None:
        return None
    scale = np.abs(scale_value.const_value.numpy().astype(np.float64)).reshape(-1)
    name = str(node.outputs[0].name)
    if name in stored_levels:
        return scale * (stored_levels[name] - 1)
    integers = node.inputs[0]
    assert integers is not None
    producer = integers.producer()
    if producer is not None and producer.op_type == "Clip":
        limits = _constant_limits(producer)
        if limits is not None:
            return scale * (limits[1] - limits[0])
    if producer is not None and producer.op_type == "QuantizeLinear":
        source = producer.inputs[0]
        clip = source.producer() if source is not None else None
        limits = _constant_limits(clip) if clip is not None and clip.op_type == "Clip" else None
        if limits is not None and scale.size == 1:
            # A Clip in float before Q narrows the range, unless it is a network's own activation beyond Q's range.
            return np.minimum(limits[1] - limits[0], scale * _steps(integers))
    return scale * _steps(integers)


def _steps(integers: ir.Value) -> float:
    """Levels of the integer type less one; without a known type, QuantizeLinear's default uint8."""
    dtype = integers.dtype if integers.dtype is not None else _zero_point_type(integers)
    return float(2.0**dtype.bitwidth - 1)


def _zero_point_type(integers: ir.Value) -> ir.DataType:
    producer = integers.producer()
    zero_point = producer.inputs[2] if producer is not None and len(producer.inputs) > 2 else None
    return zero_point.dtype if zero_point is not None and zero_point.dtype is not None else ir.DataType.UINT8


def _constant_limits(clip: ir.Node) -> tuple[float, float] | None:
    """(lowest, highest) of a Clip with constant limits."""
    if len(clip.inputs) < 3 or any(value is None or value.const_value is None for value in clip.inputs[1:3]):
        return None
    low, high = (value.const_value.numpy().astype(np.float64) for value in clip.inputs[1:3])  # type: ignore[union-attr]
    return float(low), float(high)
