"""The range (largest minus smallest real value) of the quantizer that a value of a QDQ graph went through, per channel."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.quantization import WEIGHT_SCHEMES, levels_of
from mpq_onnx.graph.mac import is_stored
from mpq_onnx.graph.operators import DYNAMIC_DOMAIN, is_bookkeeping, is_constant, is_join, is_pass_through
from mpq_onnx.graph.placement.graph_roles import FUSED_ACTIVATIONS
from mpq_onnx.graph.quantized_tensors import marked_tensor, quantized_tensor
from mpq_onnx.graph.quantizers import Quantizer, quantizer_behind, read_quantizer, type_span
from mpq_onnx.graph.stored_weights import stored_weight


def quantizer_range(value: ir.Value, stored_levels: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """float64 [1], or one per channel; None where no quantizer is found behind `value` and pass-through ops.

    Args:
        stored_levels: levels by weight, where fewer than the integer type has (see weight_levels).
    """
    found = quantizer_behind(value)
    return None if found is None else _range(found, stored_levels)


def stored_range(value: ir.Value) -> np.ndarray | None:
    """What the integers that are stored behind `value` span, zero included, in real numbers: float64 [1], or one per channel.

    None where nothing is stored there, and for scales a block.
    """
    found = quantizer_behind(value)
    stored = None if found is None else found.stored
    if found is None or stored is None or found.scale is None or found.zero_point is None:
        return None
    rows = _by_scale(found, stored.astype(np.float64))
    if rows is None:
        return None
    rows = rows - found.zero_point.reshape(-1, 1)
    span = rows.max(axis=1, initial=0) - rows.min(axis=1, initial=0)
    return np.abs(found.scale.astype(np.float64)).reshape(-1) * span


def quantizer_axis(value: ir.Value, rank: int) -> int | None:
    """The axis of a stored tensor of `rank` dimensions that its scales run along; None where views leave none."""
    found = stored_weight(value)
    if found is None or found.axis is None or found.quantizer.is_per_example:
        return None
    return found.axis % rank


def weight_levels(
    weight_bits: Mapping[str, float | tuple[float, ...] | None],
    scheme: str,
    own_schemes: Mapping[str, str | None] | None = None,
) -> dict[str, np.ndarray]:
    """Levels by weight tensor, from the widths by weight tensor of an allocation and its scheme (a name in WEIGHT_SCHEMES).

    Args:
        own_schemes: by weight tensor, of those that have another.
    """
    schemes = {tensor: (own_schemes or {}).get(tensor) or scheme for tensor in weight_bits}
    return {
        tensor: np.array(
            [WEIGHT_SCHEMES[schemes[tensor]].usable(levels_of(width)) for width in np.atleast_1d(bits)]
        )
        for tensor, bits in weight_bits.items()
        if bits is not None
    }


def _range(found: Quantizer, stored_levels: Mapping[str, np.ndarray]) -> np.ndarray | None:
    if found.scale is None or found.dequantize is None:
        return None
    scale = np.abs(found.scale.astype(np.float64)).reshape(-1)
    all_steps = type_span(found.dtype or ir.DataType.UINT8)
    name = quantized_tensor(found.dequantize)
    if name in stored_levels:
        measured = scale * (stored_levels[name] - 1)
    elif found.real_limits is not None and scale.size == 1:
        # A Clip in float before Q narrows the range, unless it is a network's own activation beyond Q's range.
        measured = np.minimum(found.real_limits[1] - found.real_limits[0], scale * all_steps)
    else:
        measured = scale * (all_steps if found.ends is None else found.ends[1] - found.ends[0])
    stored = found.stored
    return measured if stored is None else np.where(_is_all_zero(found, stored), 0.0, measured)


def _is_all_zero(found: Quantizer, stored: np.ndarray) -> np.ndarray | bool:
    """bool [scales]: all stored integers are the zero point. Such a channel may have any scale, and has no range.

    One scale for a whole tensor is chosen by its other channels: it has no range where every channel is zero.
    """
    if found.zero_point is None:
        return False
    rows = _by_scale(found, stored.astype(np.float64))
    return False if rows is None else np.asarray((rows == found.zero_point.reshape(-1, 1)).all(axis=1))


def _by_scale(found: Quantizer, integers: np.ndarray) -> np.ndarray | None:
    """[scales, integers that share one]; None for scales a block."""
    if found.scales == 1:
        return integers.reshape(1, -1)
    axis = found.axis if integers.ndim else 0
    if not -integers.ndim <= axis < integers.ndim or integers.shape[axis] != found.scales:
        return None
    return np.moveaxis(integers, axis, 0).reshape(found.scales, -1)


@dataclass(frozen=True)
class OutputQuantizer:
    """The quantizer that a node's output goes through, behind a fused activation."""

    tensor: str
    """What is quantized: the node's own output, or the activation's."""
    range: float


def output_quantizer(value: ir.Value) -> OutputQuantizer | None:
    """The first static quantizer after `value`, if only bias additions and fused activations lie between."""
    node = first_quantizer(value)
    found = None if node is None else read_quantizer(node)
    measured = None if found is None else _range(found, {})
    if node is None or found is None or found.dequantize is None or measured is None:
        return None
    tensor = marked_tensor(found.dequantize) or str(node.inputs[0].name)  # type: ignore[union-attr]
    return OutputQuantizer(tensor, float(measured.max()))


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
