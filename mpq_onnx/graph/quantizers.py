"""The quantizers of a graph, whoever wrote it: QuantizeLinear, a Clip that narrows it, DequantizeLinear; stored tensors.

The only reader of them. It is lenient: what the graph does not show, or computes at run time, is None; who needs more
checks that (see quantizer_chains).
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir

from mpq_onnx.graph import contributed
from mpq_onnx.graph.operators import DYNAMIC_DOMAIN, is_pass_through, is_standard
from mpq_onnx.graph.quantized_tensors import marked_tensor

LATTICE_TOLERANCE = 1e-3
"""Of a step: how near the limits of a Clip of real values must be to levels to count as the ends of the quantizer."""
Limits = tuple[float, float]
Ends = tuple[int, int]


@dataclass(frozen=True)
class Quantizer:
    """A quantizer, or a tensor that is stored as integers."""

    quantize: ir.Node | None
    """QuantizeLinear, or a node of ours with a range for every example; None for integers that are stored or made elsewhere."""
    dequantize: ir.Node | None
    """DequantizeLinear; None where nobody reads the integers back, and beside a node of ours."""
    source: ir.Value | None
    """What is quantized, before a Clip that only narrows the quantizer."""
    integers: ir.Value | None
    """What is read back."""
    result: ir.Value | None
    """The real values of the levels."""
    dtype: ir.DataType | None
    """The integers' type."""
    ends: Ends | None
    """The lowest and the highest integer in use; None where a Clip computes or confuses them, and for types of floats."""
    real_limits: Limits | None = None
    """Of a Clip of real values in front of `quantize`, the network's own or a narrowing one, where no Clip stands behind."""
    scale: np.ndarray | None = None
    """float32, one number, one per channel or one per block; of the values that are read back."""
    scales: int = 1
    """How many there are; 1 where that is not known."""
    zero_point: np.ndarray | None = None
    """int64; zeros where it is left out."""
    ends_agree: bool = False
    """Quantizing and dequantizing have the same constant scale and zero point."""
    axis: int = 0
    """Of the channels."""
    block_size: int = 0

    @property
    def is_per_example(self) -> bool:
        """Of ours, with a range for every example."""
        return self.quantize is not None and self.quantize.domain == DYNAMIC_DOMAIN

    @property
    def stored(self) -> np.ndarray | None:
        """The integers, where they are an initializer, or a Clip of one."""
        value, clip = self.integers, _producer(self.integers)
        if clip is not None and clip.op_type == "Clip" and self.ends is not None:
            value = clip.inputs[0]
        if value is None or value.const_value is None:
            return None
        array = value.const_value.numpy()
        return array if value is self.integers else np.clip(array, *self.ends).astype(array.dtype)  # type: ignore[misc]

    @property
    def type_ends(self) -> Ends | None:
        """The lowest and the highest integer of the type."""
        return integer_limits(self.dtype) if self.dtype is not None and self.dtype.is_integer() else None


def is_linear(node: ir.Node) -> bool:
    """QuantizeLinear or DequantizeLinear, of ONNX or onnxruntime's of the same meaning (16 and 4 bits, before opset 21)."""
    of_either = is_standard(node) or node.domain == contributed.DOMAIN
    return of_either and node.op_type in ("QuantizeLinear", "DequantizeLinear")


def read_quantizer(node: ir.Node) -> Quantizer | None:
    """The quantizer that `node` belongs to: QuantizeLinear, DequantizeLinear, or a node of ours; None for other nodes."""
    if node.domain == DYNAMIC_DOMAIN:
        return _per_example(node)
    if not is_linear(node):
        return None
    if node.op_type == "QuantizeLinear":
        return _linear(node, *_read_back(node))
    quantize = narrowing = _producer(node.inputs[0])
    if narrowing is not None and narrowing.op_type == "Clip":
        quantize = _producer(narrowing.inputs[0])
    if quantize is None or quantize.op_type != "QuantizeLinear":
        return _linear(None, narrowing if quantize is not narrowing else None, node)
    return _linear(quantize, None if narrowing is quantize else narrowing, node)


def quantizer_of(value: ir.Value) -> Quantizer | None:
    """The quantizer, or the stored tensor, whose real values `value` holds as they come."""
    node = value.producer()
    return None if node is None or node.op_type == "QuantizeLinear" else read_quantizer(node)


def quantizer_behind(
    value: ir.Value, passes: Callable[[ir.Node], bool] = is_pass_through
) -> Quantizer | None:
    """The quantizer that the values of `value` went through, found backwards through nodes that pass them on."""
    while True:
        found, node = quantizer_of(value), value.producer()
        if found is not None or node is None or not passes(node) or node.inputs[0] is None:
            return found
        value = node.inputs[0]


def integer_limits(dtype: ir.DataType) -> Ends:
    """(lowest, highest) of an integer type."""
    width = dtype.bitwidth
    return (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if dtype.is_signed() else (0, 2**width - 1)


def type_span(dtype: ir.DataType) -> float:
    """The largest minus the smallest number of an integer type, or of a float type of a few bits."""
    if dtype.is_integer():
        return float(2**dtype.bitwidth - 1)
    limits = ml_dtypes.finfo(dtype.numpy())
    return float(limits.max) - float(limits.min)


def _read_back(quantize: ir.Node) -> tuple[ir.Node | None, ir.Node | None]:
    """The Clip of integers, if there is one, and the DequantizeLinear behind `quantize`."""
    for node, _ in quantize.outputs[0].uses():
        if node.op_type == "DequantizeLinear":
            return None, node
        if node.op_type == "Clip":
            readers = (use.node for use in node.outputs[0].uses())
            return node, next((each for each in readers if each.op_type == "DequantizeLinear"), None)
    return None, None


def _per_example(node: ir.Node) -> Quantizer:
    dtype = ir.DataType(node.attributes.get_int("to", int(ir.DataType.UINT8)))
    count = _constant(node, 1)
    levels = math.nan if count is None else float(count.reshape(()))
    ends = (0, int(levels) - 1) if 1 <= levels <= 2**dtype.bitwidth else None
    return Quantizer(node, None, node.inputs[0], None, node.outputs[0], dtype, ends)


def _linear(quantize: ir.Node | None, narrowing: ir.Node | None, dequantize: ir.Node | None) -> Quantizer:
    """Of one node at least; `narrowing`, a Clip of integers, stands between the two."""
    nodes = [node for node in (dequantize, quantize) if node is not None]
    scales = [_constant(node, 1) for node in nodes]
    zeros = [_zero_point(node, scale) for node, scale in zip(nodes, scales, strict=True)]
    dtype, scale = _integer_type(quantize, dequantize), scales[0]
    found = Quantizer(
        quantize,
        dequantize,
        source=None if quantize is None else quantize.inputs[0],
        integers=None if dequantize is None else dequantize.inputs[0],
        result=None if dequantize is None else dequantize.outputs[0],
        dtype=dtype,
        ends=integer_limits(dtype) if dtype is not None and dtype.is_integer() else None,
        scale=None if scale is None else scale.astype(np.float32),
        scales=_count(nodes[0].inputs[1]),
        zero_point=zeros[0],
        ends_agree=len(nodes) == 2 and _are_equal(*scales) and _are_equal(*zeros),
        axis=nodes[0].attributes.get_int("axis", 1),
        block_size=nodes[0].attributes.get_int("block_size", 0),
    )
    return _narrowed(found, narrowing)


def _narrowed(found: Quantizer, narrowing: ir.Node | None) -> Quantizer:
    """`found` with the integers that a Clip leaves it: of integers behind QuantizeLinear, or of real values in front."""
    if narrowing is not None:
        return dataclasses.replace(found, ends=_ordered(_constant_limits(narrowing)))
    clip = _producer(found.source)
    limits = _constant_limits(clip) if clip is not None and clip.op_type == "Clip" else None
    if clip is None or limits is None or found.source is None:
        return found
    ends = _levels_of(limits, found.scale, found.zero_point)
    narrows = _is_inside(ends, found.ends) and not _is_of_network(clip, found, ends)
    if len(found.source.uses()) == 1 and narrows:
        return dataclasses.replace(found, real_limits=limits, source=clip.inputs[0], ends=ends)
    return dataclasses.replace(found, real_limits=limits)


def _is_of_network(clip: ir.Node, found: Quantizer, ends: Ends | None) -> bool:
    """A Clip in front that the float network has, whatever levels its limits are.

    Our quantizers say which tensor they stand for: its output, which is called otherwise where the quantizer took the name of a
    model's output. In files of others one that only cuts at zero is a ReLU of any kind.
    """
    if ends is not None and found.ends is not None and found.zero_point is not None:
        zero = int(found.zero_point.reshape(-1)[0])
        if found.ends[0] < zero == ends[0] and ends[1] == found.ends[1]:
            return True
    stands_for = None if found.dequantize is None else marked_tensor(found.dequantize)
    name = str(clip.outputs[0].name)
    is_renamed = found.result is not None and found.result.name == stands_for
    return stands_for is not None and (
        name == stands_for or (is_renamed and name.startswith(f"{stands_for}_float"))
    )


def _integer_type(quantize: ir.Node | None, dequantize: ir.Node | None) -> ir.DataType | None:
    """As the zero points say, else the integers, else QuantizeLinear."""
    nodes = [node for node in (quantize, dequantize) if node is not None]
    values = [node.inputs[2] for node in nodes if len(node.inputs) > 2]
    values += [dequantize.inputs[0]] if dequantize is not None else []
    for value in values:
        if value is not None and (value.dtype is not None or value.const_value is not None):
            return value.dtype or value.const_value.dtype  # type: ignore[union-attr]
    if quantize is None:
        return None
    return ir.DataType(quantize.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8)


def _levels_of(limits: Limits | None, scale: np.ndarray | None, zero_point: np.ndarray | None) -> Ends | None:
    """The integers that real limits stand for; None where they lie between levels, or have several scales."""
    if limits is None or scale is None or zero_point is None or not scale.size == zero_point.size == 1:
        return None
    steps = np.array(limits) / float(scale.reshape(()))
    whole = np.round(steps)
    if not np.isfinite(steps).all() or np.abs(steps - whole).max() > LATTICE_TOLERANCE:
        return None
    low, high = (int(step) + int(zero_point.reshape(())) for step in whole)
    return low, high


def _constant_limits(clip: ir.Node) -> Limits | None:
    """(lowest, highest) of a Clip, where they are constant."""
    low, high = _constant(clip, 1), _constant(clip, 2)
    if low is None or high is None or not low.size == high.size == 1:
        return None
    limits = float(low.reshape(())), float(high.reshape(()))
    return limits if all(map(math.isfinite, limits)) else None


def _ordered(limits: Limits | None) -> Ends | None:
    return None if limits is None or limits[0] > limits[1] else (int(limits[0]), int(limits[1]))


def _is_inside(inner: Ends | None, outer: Ends | None) -> bool:
    """True where `inner` are the ends of a part of `outer`."""
    if inner is None or outer is None or inner == outer:
        return False
    return outer[0] <= inner[0] <= inner[1] <= outer[1]


def _are_equal(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    """Both are known, and the same."""
    return first is not None and second is not None and np.array_equal(first, second)


def _count(scale: ir.Value | None) -> int:
    if scale is not None and scale.const_value is not None:
        return scale.const_value.size
    shape = () if scale is None or scale.shape is None else tuple(scale.shape)
    return math.prod(each if isinstance(each, int) else 0 for each in shape) or 1


def _zero_point(node: ir.Node, scale: np.ndarray | None) -> np.ndarray | None:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return np.zeros(() if scale is None else scale.shape, np.int64)
    found = _constant(node, 2)
    return None if found is None else found.astype(np.int64)


def _constant(node: ir.Node, index: int) -> np.ndarray | None:
    value = node.inputs[index] if len(node.inputs) > index else None
    return value.const_value.numpy() if value is not None and value.const_value is not None else None


def _producer(value: ir.Value | None) -> ir.Node | None:
    return None if value is None else value.producer()


def as_read(value: ir.Value) -> ir.Value:
    """Behind the quantizer that all readers of `value` have in common: files of others name what is in front of it, where
    a Relu may be left to the quantizer's lowest integer."""
    uses = tuple(value.uses())
    if value.is_graph_output() or any(use.node.op_type != "QuantizeLinear" or use.idx for use in uses):
        return value
    results = {found.result for use in uses if (found := read_quantizer(use.node)) is not None}
    return next((each for each in results if len(results) == 1 and each is not None), value)
