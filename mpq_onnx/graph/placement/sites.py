"""Quantization sites: the weights and activations of a graph that a bit width can be given to."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.arithmetic.saturation import ALONE, NEIGHBOURS
from mpq_onnx.errors import ModelError
from mpq_onnx.graph.example_layout import ExampleLayout, Layouts
from mpq_onnx.graph.mac import Mac, is_stored, macs_of
from mpq_onnx.graph.operators import MAC_OPS

OF_INTEGER_KERNELS = ("MatMul", "Gemm", "Conv")
Shapes = Mapping[str, tuple[int, ...]]
"""Shape of every tensor for one example, by tensor name."""


@dataclass(frozen=True)
class WeightUse:
    """One node that multiplies a constant weight, or looks rows up in it."""

    node: str
    op_type: str
    input: str
    """Name of the activation that the weight is multiplied with, or of the rows to be looked up."""
    bias: str | None
    """Name of the bias initializer, if the node has one."""
    output: str
    channel_axis: int
    """Axis of the weight that runs over this node's output channels; over the rows of an embedding table."""
    channels: int
    """Of the node's output: those along the axis, once a group of a ConvTranspose."""
    macs: int
    """Multiply-accumulates for one example; 0 for a look-up."""
    alpha: float = 1.0
    """Factor on the products."""
    added: str | None = None
    """Name of the constant that an Add of its own gives to the output channels: a bias in all but name (see graph.mac)."""
    is_depthwise: bool = False
    """Of a convolution with one input and one output channel a group: nothing is summed but the taps of one kernel."""
    is_fed_back: bool = False
    """`input` is the layer's own state, which is in float where the weight meets it, whatever its readers see."""
    source: str | None = None
    """The quantized activation that `input` is a view of (itself, or through pass-through ops); None where float."""
    input_layout: ExampleLayout | None = None
    output_layout: ExampleLayout | None = None
    """Where the examples lie; None where that is not known."""


@dataclass(frozen=True)
class WeightSite:
    """One constant weight of multiply-accumulate nodes, or an embedding table, with all nodes that read it."""

    tensor: str
    """Name of the weight's initializer."""
    channel_axis: int
    """Axis of the weight that has a scale an entry: that of the first node's output channels."""
    shape: tuple[int, ...]
    uses: tuple[WeightUse, ...]
    """In graph order; the site is named after the first."""
    fixed_bits: int | None = None
    """A width that the allocation may not change and that the budget does not count; 0 for float."""
    choices: tuple[float, ...] | None = None
    """Widths of its own to choose from, in place of those of all others."""
    scheme: str | None = None
    """A name in quantization.WEIGHT_SCHEMES, of its own in place of that of all others."""
    scales: str | None = None
    """The same of WEIGHT_SCALES."""

    @property
    def node(self) -> str:
        return self.uses[0].node

    @property
    def op_type(self) -> str:
        return self.uses[0].op_type

    @property
    def source(self) -> str | None:
        return self.uses[0].source

    @property
    def is_table(self) -> bool:
        """Rows are looked up in it, and nothing else."""
        return self.op_type not in MAC_OPS

    @property
    def has_one_scale(self) -> bool:
        """Integer kernels want it so: for a stack of matrices, or where they would take the scales for those of another axis.

        A weight that several nodes read has its scales along the output channels of the first. onnxruntime makes integer
        kernels of MatMul, Gemm and Conv whatever axis the scales have, and reads them as those of the node's own channels;
        only a bias, which has a scale of its own there, keeps it from that.
        """
        is_stack = any(use.op_type in ("MatMul", "Einsum") for use in self.uses) and len(self.shape) > 2
        return is_stack or any(
            use.op_type in OF_INTEGER_KERNELS and use.bias is None and use.channel_axis != self.channel_axis
            for use in self.uses
        )

    @property
    def added(self) -> str | None:
        """Which products integer kernels add in 16 bits (see arithmetic.saturation); None where uses differ in that."""
        if self.is_table or any(use.channel_axis != self.channel_axis for use in self.uses):
            return None
        kinds = {ALONE if use.is_depthwise else NEIGHBOURS for use in self.uses}
        return kinds.pop() if len(kinds) == 1 else None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        return self.shape[self.channel_axis]


@dataclass(frozen=True)
class ProductSite:
    """A multiply-accumulate whose weight gets no width: a product of two activations, or one with a weight that stays float."""

    node: str
    op_type: str
    sources: tuple[str | None, str | None]
    """The quantized activations behind the two operands; None where float."""
    macs: int
    float_weight: str | None = None
    """Name of the constant operand that stays float."""
    why_float: str | None = None
    """What keeps it so."""


@dataclass(frozen=True)
class FloatParameter:
    """A constant that gets no width, and that is neither a weight of a multiply-accumulate nor a bias."""

    node: str
    """The first that reads it."""
    op_type: str
    tensor: str
    elements: int


@dataclass(frozen=True)
class ActivationSite:
    """One activation tensor that gets a quantizer."""

    node: str
    """The node that makes it, or the name of the model input."""
    op_type: str
    tensor: str
    elements: int
    """Elements for one example."""
    fixed_bits: int | None = None
    """A width that the allocation may not change and that the budget does not count (model inputs)."""
    readers: tuple[str, ...] | None = None
    """The nodes that read the quantized tensor, where some others read it in float; None for all."""
    choices: tuple[float, ...] | None = None
    """Widths of its own to choose from, in place of those of all others."""


@dataclass(frozen=True)
class Sites:
    """All quantization sites of a model, in graph order."""

    weights: tuple[WeightSite, ...]
    activations: tuple[ActivationSite, ...]
    order: tuple[str, ...] = ()
    """Names of inputs and nodes in graph order."""
    products: tuple[ProductSite, ...] = ()
    """All multiply-accumulates that no weight's uses name."""
    parameters: tuple[FloatParameter, ...] = ()
    """Other constants that stay in float."""

    @property
    def macs(self) -> int:
        """Of one example, all of them."""
        uses = (use.macs for site in self.weights for use in site.uses)
        return sum(uses) + sum(product.macs for product in self.products)

    @property
    def readers(self) -> dict[str, tuple[str, ...]]:
        """The readers of those quantized activations that others read in float."""
        return {site.tensor: site.readers for site in self.activations if site.readers is not None}

    @property
    def free_weights(self) -> tuple[WeightSite, ...]:
        """The weights that the allocation chooses a width for."""
        return tuple(site for site in self.weights if site.fixed_bits is None)

    @property
    def free_activations(self) -> tuple[ActivationSite, ...]:
        """The activations that the allocation chooses a width for."""
        return tuple(site for site in self.activations if site.fixed_bits is None)


def with_sources(site: WeightSite, source: Callable[[WeightUse], str | None]) -> WeightSite:
    """`site` with another quantized activation for each use."""
    uses = tuple(dataclasses.replace(use, source=source(use)) for use in site.uses)
    return dataclasses.replace(site, uses=uses)


def weight_sites(model: ir.Model, shapes: Shapes, layouts: Layouts) -> tuple[WeightSite, ...]:
    """The constant floating-point weights of multiply-accumulates, in graph order; a shared weight is one site."""
    found: dict[str, list[WeightUse]] = {}
    tensors: dict[str, ir.Value] = {}
    for mac in macs_of(model.graph):
        if not mac.is_weight:
            continue
        use = _weight_use(mac, shapes, layouts)
        if use is not None:
            tensors[str(mac.held.name)] = mac.held
            found.setdefault(str(mac.held.name), []).append(use)
    return tuple(
        WeightSite(name, uses[0].channel_axis, _constant_shape(tensors[name]), tuple(uses))
        for name, uses in found.items()
    )


def product_sites(
    model: ir.Model, shapes: Shapes, weights: tuple[WeightSite, ...]
) -> tuple[ProductSite, ...]:
    """All other multiply-accumulates, in graph order; `sources` not yet filled in but with the operands' own names."""
    known = {(use.node, site.tensor) for site in weights for use in site.uses}
    return tuple(
        ProductSite(
            str(mac.node.name),
            mac.node.op_type,
            (str(mac.data.name), None if mac.is_constant else str(mac.held.name)),
            mac.macs(lambda value: value_shape(value, shapes)),
            str(mac.held.name) if mac.is_constant else None,
            _why_float(mac) if mac.is_constant else None,
        )
        for mac in macs_of(model.graph)
        if (str(mac.node.name), str(mac.held.name)) not in known
    )


def _why_float(mac: Mac) -> str:
    if not mac.is_weight:
        return "its weight is no tensor of floats in the file"
    if mac.channel_axis(_constant_shape(mac.held)) is None:
        return "its weight has no axis of output channels"
    return "its output is no signal"


def _weight_use(mac: Mac, shapes: Shapes, layouts: Layouts) -> WeightUse | None:
    """None for a weight without an axis of output channels."""
    shape = _constant_shape(mac.held)
    axis = mac.channel_axis(shape)
    if axis is None:
        return None
    data, output, bias, added = str(mac.data.name), str(mac.output.name), mac.bias, mac.added(shape)
    return WeightUse(
        node=str(mac.node.name),
        op_type=mac.node.op_type,
        input=data,
        bias=str(bias.name) if bias is not None and bias.const_value is not None else None,
        output=output,
        channel_axis=axis,
        channels=mac.channels(shape),
        macs=mac.macs(lambda value: value_shape(value, shapes)),
        alpha=mac.alpha,
        added=None if added is None else str(added.name),
        is_depthwise=mac.node.op_type == "Conv" and mac.group > 1 and shape[:2] == (mac.group, 1),
        is_fed_back=mac.is_fed_back,
        input_layout=layouts.get(data),
        output_layout=layouts.get(output),
    )


def _constant_shape(value: ir.Value) -> tuple[int, ...]:
    assert value.const_value is not None
    return tuple(value.const_value.shape.numpy())


def value_shape(value: ir.Value, shapes: Shapes) -> tuple[int, ...]:
    """The shape of a constant, of a weight that is read back from integers, or of an activation for one example.

    Raises:
        ModelError: the tensor is not in `shapes`.
    """
    if value.const_value is not None:
        return _constant_shape(value)
    producer = value.producer()
    if producer is not None and producer.op_type == "DequantizeLinear" and is_stored(value):
        assert producer.inputs[0] is not None
        return value_shape(
            producer.inputs[0], shapes
        )  # weights have no examples that `shapes` could have cut
    return shape_of(str(value.name), shapes)


def shape_of(tensor: str, shapes: Shapes) -> tuple[int, ...]:
    """The shape of `tensor` for one example.

    Raises:
        ModelError: the tensor is not in `shapes`.
    """
    try:
        return shapes[tensor]
    except KeyError:
        raise ModelError(
            f"the shape of tensor {tensor} is unknown; calibrate on this model's own data"
        ) from None
