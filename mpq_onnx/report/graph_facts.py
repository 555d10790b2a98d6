"""What a quantized graph shows of its quantization, whoever made it: QuantizeLinear and DequantizeLinear around its operators.

Nothing here knows how the file came about; what the graph does not show is None.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from mpq_onnx.biases import count_raised
from mpq_onnx.errors import ModelError, first_line
from mpq_onnx.graph.mac import Mac, is_stored, macs_of
from mpq_onnx.graph.operators import is_pass_through
from mpq_onnx.graph.quantized_already import QDQ_OPS, is_integer_operator
from mpq_onnx.graph.quantized_tensors import float_tensor
from mpq_onnx.model_file import clone
from mpq_onnx.ops.composites import is_standard
from mpq_onnx.ops.dynamic_quantize import DOMAIN as DYNAMIC_DOMAIN
from mpq_onnx.ops.dynamic_quantize import DYNAMIC_SYMMETRIC
from mpq_onnx.placement.clip_limits import constant_limits, integer_limits, level_limits
from mpq_onnx.placement.graph_roles import ACTIVATION_FUNCTIONS
from mpq_onnx.placement.mac_sites import mac_sites
from mpq_onnx.placement.quantizer_ranges import first_quantizer, is_on_grid
from mpq_onnx.report.integer_weights import IntegerWeight, integer_weight
from mpq_onnx.storage.bit_stream import DOMAIN as PACKED_DOMAIN

PER_TENSOR, PER_CHANNEL, PER_BLOCK = "per tensor", "per channel", "per block"
ASYMMETRIC, SYMMETRIC, NARROW = "asymmetric", "symmetric", "symmetric, narrow"
OWN_SCALE = "own scale"
ZERO_ALONE = "zero alone"
"""Of a quantizer of one level: what goes through it is always zero."""
STATIC, DYNAMIC = "static", "dynamic"


@dataclass(frozen=True)
class TensorFacts:
    """One quantized tensor."""

    container: str
    """The integer type that it is stored or computed in."""
    levels: int | None
    """Of an activation's quantizer, after the Clip that narrows it; of a stored weight None, as the graph does not say."""
    scales: str
    scheme: str
    ranges: str = STATIC


@dataclass(frozen=True)
class LayerFacts:
    """One multiply-accumulate node."""

    node: str
    op_type: str
    held: str
    """Name of the operand that is held; a recurrent layer has two weights."""
    weight_tensor: str
    """What the held operand is called in the float network."""
    constant: bool
    """False for a product of two activations."""
    weights: int
    macs: int | None
    """For one example; None where shapes are unknown."""
    weight: TensorFacts | None
    input: TensorFacts | None
    output: TensorFacts | None
    """The quantizer that the output goes through, behind a fused activation."""
    bias: str
    """int32, own scale (other integers), float or none."""
    raised_channels: int
    """Output channels whose weight scale was raised, so that int32 holds the bias."""


@dataclass(frozen=True)
class GraphFacts:
    """A whole graph."""

    layers: tuple[LayerFacts, ...]
    activations: tuple[TensorFacts, ...]
    """Every quantizer of an activation."""
    inputs: dict[str, bool]
    """Float inputs of the model: quantized before anyone reads them?"""
    outputs: dict[str, bool]
    float_operators: dict[str, int]
    """Operators whose float outputs go into another operator without a quantizer, by type; views left out."""
    integer_operators: dict[str, int]
    """Operators of another format than QDQ."""
    integer_weights: tuple[IntegerWeight, ...] = ()
    """Theirs."""


def graph_facts(model: ir.Model) -> GraphFacts:
    """Read the graph.

    Raises:
        ModelError: quantizers whose attributes or constants have types that ONNX does not allow them.
    """
    try:
        return _read_graph(model)
    except (TypeError, ValueError, IndexError, AssertionError) as error:
        raise ModelError(
            f"its quantizers cannot be read: {first_line(error)}; make the file again"
        ) from error


def _read_graph(model: ir.Model) -> GraphFacts:
    macs = _macs(model)
    layers = [_layer(mac, macs) for mac in macs_of(model.graph)]
    activations = [facts for node in model.graph if (facts := _activation_quantizer(node)) is not None]
    integer = [node.op_type for node in model.graph if is_integer_operator(node)]
    return GraphFacts(
        layers=tuple(layers),
        activations=tuple(activations),
        inputs={
            str(value.name): _is_quantized(value)
            for value in model.graph.inputs
            if value.dtype is not None and value.dtype.is_floating_point()
        },
        outputs={str(value.name): is_on_grid(value) for value in model.graph.outputs},
        float_operators=_counted(node.op_type for node in model.graph if _leaves_float(node)),
        integer_operators=_counted(integer),
        integer_weights=tuple(weight for node in model.graph if (weight := integer_weight(node)) is not None),
    )


def _layer(mac: Mac, macs: dict[tuple[str, str], int]) -> LayerFacts:
    node, x, w, constant, bias = mac.node, mac.data, mac.held, mac.is_constant, mac.bias
    stored = _stored_array(w) if constant else None
    return LayerFacts(
        node=str(node.name),
        op_type=node.op_type,
        held=str(w.name),
        weight_tensor=float_tensor(w),
        constant=constant,
        weights=0 if stored is None else stored.size,
        macs=macs.get((str(node.name), str(w.name))),
        weight=_weight(w) if constant else _read(w),
        input=_read(x),
        output=_written(mac.output),
        bias=_bias_kind(bias),
        raised_channels=_raised_channels(bias),
    )


def _bias_kind(bias: ir.Value | None) -> str:
    if bias is None:
        return "none"
    node = _dequantizer(bias)
    integers = None if node is None else node.inputs[0]
    if integers is None:
        return "float"
    return "int32" if integers.dtype in (None, ir.DataType.INT32) else OWN_SCALE


def _raised_channels(bias: ir.Value | None) -> int:
    node = None if bias is None else _dequantizer(bias)
    integers = None if node is None or node.inputs[0] is None else node.inputs[0].const_value
    return 0 if integers is None else count_raised(integers.numpy())


def _weight(value: ir.Value) -> TensorFacts | None:
    """The quantizer of a stored weight."""
    node = _dequantizer(value)
    if node is None:
        return None
    integers, scale = node.inputs[0], node.inputs[1]
    assert integers is not None and scale is not None
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    kind = integers.dtype or (zero_point.dtype if zero_point is not None else None)
    container = "unknown" if kind is None else str(kind).lower()
    packed = any(producer.domain == PACKED_DOMAIN for producer in _makers(integers))
    array = integers.const_value.numpy() if integers.const_value is not None else None
    return TensorFacts(
        container="bit stream" if packed else container,
        levels=None,
        scales=_scales(scale, node),
        scheme=_scheme(zero_point, kind, array),
    )


def _read(value: ir.Value) -> TensorFacts | None:
    """The quantizer that an activation comes from, views and what keeps a grid left out."""
    seen: ir.Value | None = value
    while seen is not None:
        producer = seen.producer()
        if producer is None:
            return None
        if producer.domain == DYNAMIC_DOMAIN:
            return _dynamic(producer)
        if producer.op_type == "DequantizeLinear":
            quantize = _quantizer_behind(producer)
            return None if quantize is None else _activation_quantizer(quantize)
        if not is_pass_through(producer) and producer.op_type not in ("Relu", "Clip"):
            return None
        seen = producer.inputs[0]
    return None


def _written(value: ir.Value) -> TensorFacts | None:
    """The first quantizer after a node, if only bias additions and fused activations lie between."""
    uses = tuple(value.uses())
    found = first_quantizer(value)
    if found is None and len(uses) == 1 and uses[0].node.op_type in ACTIVATION_FUNCTIONS:
        found = first_quantizer(uses[0].node.outputs[0])
    return None if found is None else _activation_quantizer(found)


def _activation_quantizer(node: ir.Node) -> TensorFacts | None:
    """The facts of a node that quantizes an activation; None for other nodes."""
    if node.domain == DYNAMIC_DOMAIN:
        return _dynamic(node)
    if node.op_type != "QuantizeLinear" or node.inputs[0] is None or is_stored(node.inputs[0]):
        return None
    scale, zero_point = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    assert scale is not None
    kind = zero_point.dtype if zero_point is not None else ir.DataType.UINT8
    container = "unknown" if kind is None else str(kind).lower()
    limits = _clip_limits(node)
    levels = _type_levels(kind)
    if limits is not None:
        levels = limits[1] - limits[0] + 1
    dynamic = scale.const_value is None
    scheme = _scheme(zero_point, kind, None)
    if limits is not None and zero_point is not None and zero_point.const_value is not None:
        middle = (limits[0] + limits[1] + 1) // 2
        zeros = zero_point.const_value.numpy().astype(np.int64)
        odd = (limits[1] - limits[0]) % 2 == 0
        scheme = (NARROW if odd else SYMMETRIC) if (zeros == middle).all() else ASYMMETRIC
        scheme = ZERO_ALONE if levels == 1 else scheme
    return TensorFacts(container, levels, _scales(scale, node), scheme, DYNAMIC if dynamic else STATIC)


def _dynamic(node: ir.Node) -> TensorFacts:
    to = ir.DataType(node.attributes.get_int("to", int(ir.DataType.UINT8)))
    count = node.inputs[1] if len(node.inputs) > 1 else None
    number = (
        float("nan")
        if count is None or count.const_value is None
        else float(count.const_value.numpy().reshape(()))
    )
    limit = _type_levels(to)
    levels = int(number) if limit is not None and 1 <= number <= limit else None
    scheme = SYMMETRIC if node.op_type == DYNAMIC_SYMMETRIC else ASYMMETRIC
    return TensorFacts(str(to).lower(), levels, "per example", scheme, DYNAMIC)


def _scales(scale: ir.Value, node: ir.Node) -> str:
    shape = scale.const_value.shape.numpy() if scale.const_value is not None else scale.shape
    if node.attributes.get_int("block_size", 0):
        return PER_BLOCK
    size = math.prod(shape) if shape is not None and all(isinstance(each, int) for each in shape) else 1
    return PER_TENSOR if size == 1 else PER_CHANNEL


def _scheme(zero_point: ir.Value | None, kind: ir.DataType | None, integers: np.ndarray | None) -> str:
    """Symmetric where every zero point stands in the middle of its type; narrow where the lowest integer is not used."""
    signed = kind is not None and str(kind).startswith("INT")
    if zero_point is None:
        zeros = np.zeros(1)
    elif zero_point.const_value is None:
        return ASYMMETRIC
    else:
        zeros = zero_point.const_value.numpy().astype(np.int64)
    levels = _type_levels(kind)
    if levels is None or not (zeros == (0 if signed else levels // 2)).all():
        return ASYMMETRIC
    if integers is None:
        return SYMMETRIC
    lowest = int(integers.astype(np.int64).min()) + (levels // 2 if signed else 0)
    return NARROW if lowest > 0 else SYMMETRIC


def _type_levels(kind: ir.DataType | None) -> int | None:
    return None if kind is None or not kind.is_integer() else 2**kind.bitwidth


def _clip_limits(node: ir.Node) -> tuple[int, int] | None:
    """The integers that a QuantizeLinear is narrowed to: by an integer Clip behind it, or a Clip of real values before it."""
    for use in node.outputs[0].uses():
        if use.node.op_type == "Clip" and (limits := constant_limits(use.node)) is not None:
            return _ordered(int(limits[0]), int(limits[1]))
    source, scale = node.inputs[0], node.inputs[1]
    clip = source.producer() if source is not None else None
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    if clip is None or clip.op_type != "Clip" or scale is None or scale.const_value is None:
        return None
    if zero_point is None or zero_point.const_value is None or zero_point.const_value.size != 1:
        return None
    limits = level_limits(
        clip, float(scale.const_value.numpy().reshape(())), int(zero_point.const_value.numpy().reshape(()))
    )
    kind = zero_point.dtype
    if limits is None or kind is None:
        return None
    ends = integer_limits(kind)
    return _ordered(*limits) if ends[0] <= limits[0] and limits[1] <= ends[1] else None


def _ordered(low: int, high: int) -> tuple[int, int] | None:
    return (low, high) if low <= high else None


def _dequantizer(value: ir.Value) -> ir.Node | None:
    producer = value.producer()
    return producer if producer is not None and producer.op_type == "DequantizeLinear" else None


def _quantizer_behind(dequantize: ir.Node) -> ir.Node | None:
    integers = dequantize.inputs[0]
    producer = integers.producer() if integers is not None else None
    if producer is not None and producer.op_type == "Clip" and producer.inputs[0] is not None:
        producer = producer.inputs[0].producer()
    return producer if producer is not None and producer.op_type == "QuantizeLinear" else None


def _makers(value: ir.Value) -> Iterable[ir.Node]:
    """The nodes that constants go through on their way to `value`."""
    waiting = [value]
    while waiting:
        producer = waiting.pop().producer()
        if producer is not None:
            yield producer
            waiting.extend(each for each in producer.inputs if each is not None)


def _stored_array(value: ir.Value) -> np.ndarray | None:
    """The stored numbers of a weight, float or integer; of a bit stream an array of its shape."""
    if value.const_value is not None:
        return value.const_value.numpy()
    node = _dequantizer(value)
    integers = node.inputs[0] if node is not None else None
    if integers is None:
        return None
    if integers.const_value is not None:
        return integers.const_value.numpy()
    for maker in _makers(integers):
        if maker.domain == PACKED_DOMAIN and maker.inputs[2] is not None:
            shape = maker.inputs[2].const_value
            return None if shape is None else np.empty(shape.numpy(), np.uint8)
    return None


def _is_quantized(value: ir.Value) -> bool:
    """True where every reader is a quantizer, or reads a view or an activation function of it that is quantized."""
    uses = [use.node for use in value.uses()]
    return bool(uses) and all(
        node.op_type == "QuantizeLinear"
        or node.domain == DYNAMIC_DOMAIN
        or (
            (is_pass_through(node) or node.op_type in (*ACTIVATION_FUNCTIONS, "Add"))
            and _is_quantized(node.outputs[0])
        )
        for node in uses
    )


def _leaves_float(node: ir.Node) -> bool:
    """An operator on signals whose float output some reader reads as it is."""
    if node.op_type in (*QDQ_OPS, "Constant") or is_integer_operator(node) or not is_standard(node):
        return False
    value = node.outputs[0]
    if is_pass_through(node) or is_stored(value) or (value.dtype is not None and value.dtype.is_integer()):
        return False
    if node.op_type in ("Shape", "Size", "Clip") or all(
        each is None or is_stored(each) or (each.dtype is not None and each.dtype.is_integer())
        for each in node.inputs
    ):
        return False
    if is_on_grid(value):
        return False
    return not _is_quantized(value) and not all(use.node.op_type == "Relu" for use in value.uses())


def _macs(model: ir.Model) -> dict[tuple[str, str], int]:
    """Multiply-accumulates of one example by node and held operand, where the file's shapes allow to tell."""
    shaped = clone(model)
    try:
        common.ShapeInferencePass()(shaped)
        shapes = {}
        values = [*shaped.graph.inputs, *(value for node in shaped.graph for value in node.outputs)]
        for value in values:
            if value.shape is not None:
                shapes[str(value.name)] = tuple(each if isinstance(each, int) else 1 for each in value.shape)
        return {(site.node, site.weight): site.macs for site in mac_sites(shaped, shapes, {})}
    except (ModelError, ValueError, IndexError, RuntimeError):  # shapes that cannot be inferred
        return {}


def _counted(names: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items()))
