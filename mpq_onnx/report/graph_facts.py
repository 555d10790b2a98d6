"""What a quantized graph shows of its quantization, whoever made it: QuantizeLinear and DequantizeLinear around its operators.

Nothing here knows how the file came about; what the graph does not show is None.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.biases import count_raised
from mpq_onnx.arithmetic.quantization import width_of
from mpq_onnx.errors import ModelError, first_line
from mpq_onnx.graph.mac import Mac, is_stored, macs_of
from mpq_onnx.graph.operators import DYNAMIC_DOMAIN, DYNAMIC_SYMMETRIC, is_pass_through
from mpq_onnx.graph.placement.graph_roles import ACTIVATION_FUNCTIONS, is_constant_affine
from mpq_onnx.graph.placement.mac_sites import mac_sites
from mpq_onnx.graph.placement.quantizer_ranges import first_quantizer, is_on_grid
from mpq_onnx.graph.quantized_already import QDQ_OPS, check_no_fake_quantizers, is_integer_operator
from mpq_onnx.graph.quantized_tensors import float_tensor
from mpq_onnx.graph.quantizers import Ends, Quantizer, quantizer_behind, quantizer_of, read_quantizer
from mpq_onnx.graph.stored_weights import stored_weight
from mpq_onnx.ops.composites import is_standard
from mpq_onnx.ops.storage.bit_stream import DOMAIN as PACKED_DOMAIN
from mpq_onnx.passes.inferred_shapes import inferred_shapes
from mpq_onnx.passes.readable_form import in_readable_form
from mpq_onnx.registries import DYNAMIC, STATIC
from mpq_onnx.report.integer_weights import IntegerWeight, integer_weight

PER_TENSOR, PER_CHANNEL, PER_BLOCK = "per tensor", "per channel", "per block"
ASYMMETRIC, SYMMETRIC, NARROW = "asymmetric", "symmetric", "symmetric, narrow"
OWN_SCALE, COMPUTED = "own scale", "computed"
"""Of biases."""
ZERO_ALONE = "zero alone"
"""Of a quantizer of one level: what goes through it is always zero."""


@dataclass(frozen=True)
class TensorFacts:
    """One quantized tensor."""

    container: str
    """The integer type that it is stored or computed in."""
    levels: int | None
    """After the Clip that narrows it; None for a stored weight without one, which the graph does not say, and for floats."""
    scales: str
    scheme: str
    ranges: str = STATIC
    stored_float: bool = False
    """The file has float weights, which are quantized when it is run: as training that knows of quantizers leaves them."""

    @property
    def bits(self) -> float | None:
        """By its levels; where these are not shown, those of the type; None for types without a fixed width."""
        return type_bits(self.container) if self.levels is None else width_of(self.levels)


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
    table: str | None
    """What the table is called in the float network that the input's rows are looked up in, where they are."""
    output: TensorFacts | None
    """The quantizer that the output goes through, behind a fused activation."""
    bias: str
    """int32, own scale (other integers), computed (an activation, with a quantizer of its own), float or none."""
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


def graph_facts(model: ir.Model, where: str = "the file") -> GraphFacts:
    """Read the graph.

    Args:
        where: names the file in errors.

    Raises:
        ModelError: quantizers whose attributes or constants have types that ONNX does not allow them, or those of QONNX.
    """
    check_no_fake_quantizers(model, where)
    try:
        return _read_graph(in_readable_form(model))
    except (TypeError, ValueError, IndexError, AssertionError) as error:
        raise ModelError(
            f"{where}: its quantizers cannot be read: {first_line(error)}; make the file again"
        ) from error


def _read_graph(model: ir.Model) -> GraphFacts:
    macs = _macs(model)
    layers = [_layer(mac, macs) for mac in macs_of(model.graph)]
    quantizers = [found for node in model.graph if (found := read_quantizer(node)) and node is found.quantize]
    integer = [node.op_type for node in model.graph if is_integer_operator(node)]
    return GraphFacts(
        layers=tuple(layers),
        activations=tuple(facts for found in quantizers if (facts := _activation(found)) is not None),
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
        weight_tensor=_float_weight(w),
        constant=constant,
        weights=0 if stored is None else stored.size,
        macs=macs.get((str(node.name), str(w.name))),
        weight=_weight(w) if constant else _read(w),
        input=_read(x),
        table=_table(x),
        output=_written(mac.output),
        bias=_bias_kind(bias),
        raised_channels=_raised_channels(bias),
    )


def _bias_kind(bias: ir.Value | None) -> str:
    if bias is None:
        return "none"
    if _read(bias) is not None:
        return COMPUTED
    found = quantizer_of(bias)
    if found is None or found.integers is None:
        return "float"
    return "int32" if found.dtype in (None, ir.DataType.INT32) else OWN_SCALE


def _raised_channels(bias: ir.Value | None) -> int:
    found = None if bias is None else quantizer_of(bias)
    stored = None if found is None else found.stored
    return 0 if stored is None else count_raised(stored)


def _held(value: ir.Value) -> Quantizer | None:
    """What a stored weight is read back by, views left out."""
    found = stored_weight(value)
    return None if found is None else found.quantizer


def _float_weight(value: ir.Value) -> str:
    """The name of the stored tensor behind views, in the float network."""
    found = _held(value)
    return float_tensor(value if found is None or found.result is None else found.result)


def _weight(value: ir.Value) -> TensorFacts | None:
    """The quantizer of a stored weight."""
    found = _held(value)
    if found is None or found.integers is None:
        return None
    packed = any(producer.domain == PACKED_DOMAIN for producer in _makers(found.integers))
    container = "bit stream" if packed else _container(found)
    is_float = found.quantize is not None
    levels = None if found.ends == found.type_ends else _levels(found.ends)
    return TensorFacts(container, levels, _scales(found), _weight_scheme(found), stored_float=is_float)


def _read(value: ir.Value) -> TensorFacts | None:
    """The quantizer that an activation comes from, views and what keeps a grid left out."""
    found = _quantizer_read(value)
    return None if found is None else _activation(found, of_rows=not is_stored(value))


def _quantizer_read(value: ir.Value) -> Quantizer | None:
    return quantizer_behind(value, lambda node: is_pass_through(node) or node.op_type in ("Relu", "Clip"))


def _table(value: ir.Value) -> str | None:
    """The float name of the stored table that `value` holds rows of."""
    found = None if is_stored(value) else _quantizer_read(value)
    if found is None or found.integers is None or found.result is None or not is_stored(found.integers):
        return None
    return float_tensor(found.result)


def _written(value: ir.Value) -> TensorFacts | None:
    """The first quantizer after a node, if only constant sums and factors and fused activations lie between."""
    uses = tuple(value.uses())
    found = first_quantizer(value)
    if found is None and len(uses) == 1 and is_constant_affine(uses[0].node):
        return _written(uses[0].node.outputs[0])
    if found is None and len(uses) == 1 and uses[0].node.op_type in ACTIVATION_FUNCTIONS:
        found = first_quantizer(uses[0].node.outputs[0])
    quantizer = None if found is None else read_quantizer(found)
    return None if quantizer is None else _activation(quantizer)


def _activation(found: Quantizer, of_rows: bool = False) -> TensorFacts | None:
    """The facts of a quantizer of an activation; None for another's.

    Args:
        of_rows: what is asked about depends on inputs: what is stored is a table that it is looked up in.
    """
    origin = found.source or found.integers  # rows of a table may be looked up as integers
    if origin is None or (is_stored(origin) and not of_rows):
        return None
    if found.is_per_example:
        symmetric = found.quantize is not None and found.quantize.op_type == DYNAMIC_SYMMETRIC
        scheme = SYMMETRIC if symmetric else ASYMMETRIC
        return TensorFacts(_container(found), _levels(found.ends), "per example", scheme, DYNAMIC)
    ends = found.ends or found.type_ends
    return TensorFacts(
        _container(found),
        _levels(ends),
        _scales(found),
        _scheme(found.zero_point, ends),
        DYNAMIC if found.scale is None else STATIC,
    )


def _levels(ends: Ends | None) -> int | None:
    return None if ends is None else ends[1] - ends[0] + 1


def _container(found: Quantizer) -> str:
    return "unknown" if found.dtype is None else str(found.dtype).lower()


def _scales(found: Quantizer) -> str:
    if found.block_size:
        return PER_BLOCK
    return PER_TENSOR if found.scales == 1 else PER_CHANNEL


def _scheme(zero_point: np.ndarray | None, ends: Ends | None) -> str:
    """Symmetric where every zero point stands in the middle of the integers; narrow where these are odd in number."""
    if zero_point is None or ends is None:
        return ASYMMETRIC
    if ends[0] == ends[1]:
        return ZERO_ALONE
    if (zero_point != (ends[0] + ends[1] + 1) // 2).any():
        return ASYMMETRIC
    return NARROW if (ends[1] - ends[0]) % 2 == 0 else SYMMETRIC


def _weight_scheme(found: Quantizer) -> str:
    """Narrow where the lowest integer of the type is not used."""
    scheme, stored, ends = _scheme(found.zero_point, found.type_ends), found.stored, found.type_ends
    if scheme == SYMMETRIC and stored is not None and ends is not None and int(stored.min()) > ends[0]:
        return NARROW
    return scheme


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
    found = _held(value)
    if found is None or found.integers is None:
        return None
    if found.stored is not None:
        return found.stored
    if found.source is not None and found.source.const_value is not None:
        return found.source.const_value.numpy()
    for maker in _makers(found.integers):
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
    try:
        shapes = inferred_shapes(model)
        return {(site.node, site.weight): site.macs for site in mac_sites(model, shapes, {})}
    # Shapes that cannot be inferred, attributes that a broken file does not have.
    except (ModelError, ValueError, LookupError, RuntimeError):
        return {}


def type_bits(container: str) -> int | None:
    """The width of a type by its name (int8, float8e4m3fn); None for what has no fixed one."""
    try:
        return ir.DataType[container.upper()].bitwidth
    except (KeyError, TypeError):
        return None


def _counted(names: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        found[name] = found.get(name, 0) + 1
    return dict(sorted(found.items()))
