"""Quantization sites: the weights and activations of a graph that a bit width can be given to."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.errors import ModelError

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of every tensor for one example, by tensor name."""


@dataclass(frozen=True)
class WeightSite:
    """The constant weight of one multiply-accumulate node, or an embedding table."""

    node: str
    op_type: str
    tensor: str
    """Name of the weight's initializer."""
    input: str
    """Name of the activation that the weight is multiplied with, or of the rows to be looked up."""
    source: str | None
    """The quantized activation that `input` is a view of (itself, or through pass-through ops); None where float."""
    bias: str | None
    """Name of the bias initializer, if the node has one."""
    output: str
    channel_axis: int
    """Axis of the weight that runs over output channels; over the rows of an embedding table."""
    shape: tuple[int, ...]
    macs: int
    """Multiply-accumulates for one example."""
    fixed_bits: int | None = None
    """A width that the allocation may not change and that the budget does not count; 0 for float."""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        return self.shape[self.channel_axis]


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


@dataclass(frozen=True)
class Sites:
    """All quantization sites of a model, in graph order."""

    weights: tuple[WeightSite, ...]
    activations: tuple[ActivationSite, ...]
    order: tuple[str, ...] = ()
    """Names of inputs and nodes in graph order."""

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


def weight_sites(model: ir.Model, shapes: Shapes) -> tuple[WeightSite, ...]:
    """Conv, ConvTranspose, Gemm and MatMul with a constant floating-point weight, in graph order.

    A weight that several nodes share is one site, named after the first node.
    """
    sites: dict[str, WeightSite] = {}
    for node in model.graph:
        weight_index = weight_input(node)
        if weight_index is None:
            continue
        weight = node.inputs[weight_index]
        data = node.inputs[1 - weight_index]
        assert weight is not None and data is not None and weight.name is not None
        if weight.name in sites:
            continue
        shape = tuple(weight.const_value.shape.numpy())  # type: ignore[union-attr]
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        sites[weight.name] = WeightSite(
            node=str(node.name),
            op_type=node.op_type,
            tensor=weight.name,
            input=str(data.name),
            source=None,
            bias=str(bias.name) if bias is not None and bias.const_value is not None else None,
            output=str(node.outputs[0].name),
            channel_axis=channel_axis(node),
            shape=shape,
            macs=_macs(node, shape, shapes),
        )
    return tuple(sites.values())


def weight_input(node: ir.Node) -> int | None:
    """Index of the constant weight among the inputs of a multiply-accumulate node, or None."""
    if node.domain not in ("", "ai.onnx"):
        return None
    candidates = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (1, 0), "MatMul": (1, 0)}.get(node.op_type, ())
    for index in candidates:
        value, other = node.inputs[index], node.inputs[1 - index]
        if value is None or other is None or value.const_value is None or other.const_value is not None:
            continue
        if value.dtype is not None and not value.dtype.is_floating_point():
            continue
        rank = len(value.const_value.shape)
        if rank == 2 or (rank > 2 and node.op_type in ("Conv", "ConvTranspose")):
            return index
    return None


def channel_axis(node: ir.Node) -> int:
    """Axis of the constant weight of a multiply-accumulate node that runs over output channels."""
    index = weight_input(node)
    assert index is not None
    weight = node.inputs[index]
    assert weight is not None and weight.const_value is not None
    rank = len(weight.const_value.shape)
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    # Gemm and MatMul: columns of the second factor, rows of the first, unless transposed.
    last = index == 1
    transposed = node.attributes.get("transB" if index == 1 else "transA")
    if node.op_type == "Gemm" and transposed is not None and transposed.as_int():
        last = not last
    return rank - 1 if last else rank - 2


def _macs(node: ir.Node, weight_shape: tuple[int, ...], shapes: Shapes) -> int:
    """Multiply-accumulates of one example, from the node's output (or input) size and its fan-in."""
    output = math.prod(shape_of(str(node.outputs[0].name), shapes))
    if node.op_type == "Conv":
        return output * math.prod(weight_shape[1:])
    if node.op_type == "ConvTranspose":
        # Each input element meets the whole kernel of its group.
        data = node.inputs[0]
        assert data is not None
        elements: int = math.prod(shape_of(str(data.name), shapes))
        return elements * math.prod(weight_shape[1:])
    inner = weight_shape[-1] if channel_axis(node) == len(weight_shape) - 2 else weight_shape[-2]
    return output * inner


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
