"""The quantizers of a QDQ graph, whoever wrote it: QuantizeLinear, a Clip that narrows it, DequantizeLinear; stored weights."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.mac import BIAS_INPUT, CONVOLUTIONS, is_stored
from mpq_onnx.graph.operators import is_standard
from mpq_onnx.ops.dynamic_quantize import DOMAIN as DYNAMIC_DOMAIN
from mpq_onnx.placement.clip_limits import constant_limits, integer_limits, level_limits


@dataclass(frozen=True)
class ActivationChain:
    """The quantizer of an activation."""

    source: ir.Value
    """What is quantized, before a Clip that only narrows the quantizer."""
    quantize: ir.Node
    dequantize: ir.Node
    scale: np.ndarray
    """float32, one number or one per channel."""
    zero_point: np.ndarray
    """int64, the same shape."""
    dtype: ir.DataType
    """The integers' type."""
    lowest: int
    highest: int
    """The integers in use."""

    @property
    def result(self) -> ir.Value:
        """The real values of the levels."""
        return self.dequantize.outputs[0]

    @property
    def node(self) -> str:
        """Name of the node whose output is quantized, or of the model's input."""
        producer = self.source.producer()
        return str(self.source.name if producer is None else producer.name)

    @property
    def levels(self) -> int:
        return self.highest - self.lowest + 1


@dataclass(frozen=True)
class WeightChain:
    """A weight, bias or embedding table that is stored as integers."""

    dequantize: ir.Node
    integers: ir.Value
    scale: np.ndarray
    """float32, one number or one per channel."""
    zero_point: np.ndarray
    """int64, the same shape."""
    axis: int
    """Of the channels."""
    dtype: ir.DataType

    @property
    def result(self) -> ir.Value:
        """The real values."""
        return self.dequantize.outputs[0]

    @property
    def node(self) -> str:
        """Name of a node that reads it."""
        return next((str(use.node.name) for use in self.result.uses()), str(self.result.name))

    @property
    def channel_axis(self) -> int | None:
        """None for one scale."""
        return self.axis if self.scale.size > 1 else None

    @property
    def is_bias(self) -> bool:
        """Read as a bias alone, whatever its type."""
        uses = list(self.result.uses())
        return self.dtype == ir.DataType.INT32 or (
            bool(uses)
            and all(use.idx == BIAS_INPUT and use.node.op_type in (*CONVOLUTIONS, "Gemm") for use in uses)
        )


@dataclass(frozen=True)
class Chains:
    """All quantizers of a graph."""

    activations: tuple[ActivationChain, ...]
    weights: tuple[WeightChain, ...]
    others: tuple[ir.Node, ...]
    """Quantizing nodes that follow neither pattern: dynamic ranges, blocks, integers that something else reads."""


def quantizer_chains(model: ir.Model) -> Chains:
    """Find them, in graph order."""
    activations: list[ActivationChain] = []
    weights: list[WeightChain] = []
    others: list[ir.Node] = []
    for node in model.graph:
        if node.domain == DYNAMIC_DOMAIN or node.op_type == "DynamicQuantizeLinear":
            others.append(node)
        if not is_standard(node) or node.op_type != "DequantizeLinear":
            continue
        stored = _weight_chain(node)
        chain = _activation_chain(node) if stored is None else None
        if stored is not None:
            weights.append(stored)
        elif chain is not None:
            activations.append(chain)
        else:
            others.append(node)
    read = {id(chain.quantize) for chain in activations}
    others += [
        node
        for node in model.graph
        if node.op_type == "QuantizeLinear" and not node.domain and id(node) not in read
    ]
    return Chains(tuple(activations), tuple(weights), tuple(others))


def _weight_chain(dequantize: ir.Node) -> WeightChain | None:
    integers, scale = dequantize.inputs[0], _constant(dequantize, 1)
    if integers is None or scale is None or not is_stored(integers):
        return None
    if dequantize.attributes.get_int("block_size", 0):
        return None
    dtype = integers.dtype or _zero_point_type(dequantize)
    if dtype is None:
        return None
    return WeightChain(
        dequantize,
        integers,
        scale.astype(np.float32),
        _zero_point(dequantize, scale),
        dequantize.attributes.get_int("axis", 1),
        dtype,
    )


def _activation_chain(dequantize: ir.Node) -> ActivationChain | None:
    integers = dequantize.inputs[0]
    narrowing = integers.producer() if integers is not None else None
    quantize = narrowing
    limits: tuple[float, float] | None = None
    if narrowing is not None and narrowing.op_type == "Clip":
        limits = constant_limits(narrowing)
        source = narrowing.inputs[0]
        quantize = source.producer() if source is not None and limits is not None else None
    if quantize is None or quantize.op_type != "QuantizeLinear":
        return None
    if quantize.attributes.get_int("block_size", 0):
        return None
    scale, other = _constant(quantize, 1), _constant(dequantize, 1)
    if scale is None or other is None or not np.array_equal(scale, other):
        return None
    zero_point = _zero_point(quantize, scale)
    if not np.array_equal(zero_point, _zero_point(dequantize, scale)):
        return None
    dtype = _zero_point_type(quantize) or ir.DataType.UINT8
    if not dtype.is_integer():
        return None
    ends_of_type = integer_limits(dtype)
    lowest, highest = ends_of_type if limits is None else (int(limits[0]), int(limits[1]))
    if not ends_of_type[0] <= lowest <= highest <= ends_of_type[1]:
        return None
    value = quantize.inputs[0]
    assert value is not None
    clip = value.producer()
    if clip is not None and clip.op_type == "Clip" and scale.size == 1 and len(value.uses()) == 1:
        ends = level_limits(clip, float(scale.reshape(())), int(zero_point.reshape(())))
        if ends is not None and lowest <= ends[0] <= ends[1] <= highest and ends != (lowest, highest):
            (lowest, highest), value = ends, clip.inputs[0]
            assert value is not None
    return ActivationChain(
        value, quantize, dequantize, scale.astype(np.float32), zero_point, dtype, lowest, highest
    )


def _constant(node: ir.Node, index: int) -> np.ndarray | None:
    value = node.inputs[index] if len(node.inputs) > index else None
    return value.const_value.numpy() if value is not None and value.const_value is not None else None


def _zero_point(node: ir.Node, scale: np.ndarray) -> np.ndarray:
    found = _constant(node, 2)
    return np.zeros(scale.shape, np.int64) if found is None else found.astype(np.int64)


def _zero_point_type(node: ir.Node) -> ir.DataType | None:
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        given = node.attributes.get_int("output_dtype", 0)
        return ir.DataType(given) if given else None
    return value.dtype if value.dtype is not None or value.const_value is None else value.const_value.dtype
