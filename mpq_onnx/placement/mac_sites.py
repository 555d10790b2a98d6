"""Multiply-accumulate nodes of any ONNX graph, float or QDQ: what physical noise needs to know of each.

Input 0 of a node is called x, input 1 w: the operand that an analog array holds. w is a constant, or an activation as in
attention.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.placement.quantizer_ranges import quantizer_range
from mpq_onnx.placement.sites import Shapes, shape_of

MAC_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum")


@dataclass(frozen=True)
class MacSite:
    """One multiply-accumulate node."""

    node: str
    op_type: str
    input: str
    weight: str
    output: str
    channels: int
    """Output channels that may have an energy each; 1 where w is an activation."""
    fan_in: int
    """D: products summed up in one output."""
    macs: int
    """Multiply-accumulates for one example."""
    weight_range: tuple[float, ...] | None
    """R_w: range of the quantizer of w, one or one per channel; None where w is not quantized."""
    input_range: float | None
    """R_x: range of the quantizer of x; None where x is not quantized."""


def mac_sites(
    model: ir.Model, shapes: Shapes, stored_levels: Mapping[str, np.ndarray], ignore_groups: bool = False
) -> tuple[MacSite, ...]:
    """All multiply-accumulate nodes in graph order.

    Args:
        shapes: the shape of every tensor for one example.
        stored_levels: see quantizer_ranges.weight_levels.
        ignore_groups: the fan-in of grouped convolutions as in the code of arXiv 2102.06365, not divided by the groups.

    Raises:
        ModelError: an Einsum of other than two operands.
    """
    return tuple(
        _site(node, shapes, stored_levels, ignore_groups)
        for node in model.graph
        if node.op_type in MAC_OPS and node.domain in ("", "ai.onnx")
    )


def _site(
    node: ir.Node, shapes: Shapes, stored_levels: Mapping[str, np.ndarray], ignore_groups: bool
) -> MacSite:
    if len(node.inputs) < 2 or (node.op_type == "Einsum" and len(node.inputs) != 2):
        raise ModelError(f"node {node.name} ({node.op_type}): only products of two operands can be noisy")
    x, w = node.inputs[:2]
    assert x is not None and w is not None
    x_shape, w_shape = (_shape(value, shapes) for value in (x, w))
    output = shape_of(str(node.outputs[0].name), shapes)
    fan_in, products = _products(node, x_shape, w_shape)
    channels = _channels(node, w_shape) if is_stored(w) else 1
    w_range, x_range = quantizer_range(w, stored_levels), quantizer_range(x, stored_levels)
    if w_range is not None:
        w_range = w_range if w_range.size == channels else w_range.max(keepdims=True)
    elements = x_shape if node.op_type == "ConvTranspose" else output
    if ignore_groups and node.op_type in ("Conv", "ConvTranspose"):
        fan_in *= node.attributes.get_int("group", 1)
    return MacSite(
        node=str(node.name),
        op_type=node.op_type,
        input=str(x.name),
        weight=str(w.name),
        output=str(node.outputs[0].name),
        channels=channels,
        fan_in=fan_in,
        macs=math.prod(elements) * products,
        weight_range=None if w_range is None else tuple(w_range.tolist()),
        input_range=None if x_range is None else float(x_range.max()),
    )


def is_stored(w: ir.Value) -> bool:
    """True where w depends on constants alone: an initializer, or one read back through DequantizeLinear and the like."""
    waiting, seen = [w], {w}
    while waiting:
        value = waiting.pop()
        if value.const_value is not None:
            continue
        producer = value.producer()
        if producer is None:
            return False
        sources = {each for each in producer.inputs if each is not None} - seen
        seen |= sources
        waiting.extend(sources)
    return True


def _shape(value: ir.Value, shapes: Shapes) -> tuple[int, ...]:
    if value.const_value is not None:
        return tuple(value.const_value.shape.numpy())
    producer = value.producer()
    if producer is not None and producer.op_type == "DequantizeLinear" and is_stored(value):
        assert producer.inputs[0] is not None
        return _shape(producer.inputs[0], shapes)  # weights have no batch axis that `shapes` could have cut
    return shape_of(str(value.name), shapes)


def _channels(node: ir.Node, w_shape: tuple[int, ...]) -> int:
    """Length of the vectors that broadcast over output channels."""
    if node.op_type == "Conv":
        return w_shape[0]
    if node.op_type == "ConvTranspose":
        return w_shape[1] * node.attributes.get_int("group", 1)
    if node.op_type == "Gemm":
        return w_shape[0] if node.attributes.get_int("transB", 0) else w_shape[1]
    return w_shape[-1] if node.op_type == "MatMul" and len(w_shape) == 2 else 1


def _products(node: ir.Node, x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan-in D, products for each element of the output; of the input for ConvTranspose)."""
    if node.op_type == "Conv":
        taps = math.prod(w_shape[1:])
        return taps, taps
    if node.op_type == "ConvTranspose":
        # Of the kernel's k taps along an axis, those that meet in one output are s / gcd(s, d) apart.
        kernel = w_shape[2:]
        strides = node.attributes.get_ints("strides", [1] * len(kernel))
        dilations = node.attributes.get_ints("dilations", [1] * len(kernel))
        taps = math.prod(
            -(-k * math.gcd(s, d) // s) for k, s, d in zip(kernel, strides, dilations, strict=True)
        )
        return w_shape[0] // node.attributes.get_int("group", 1) * taps, math.prod(w_shape[1:])
    if node.op_type == "Gemm":
        inner = x_shape[0] if node.attributes.get_int("transA", 0) else x_shape[1]
        return inner, inner
    if node.op_type == "MatMul":
        return x_shape[-1], x_shape[-1]
    inner = _einsum_inner(node, x_shape, w_shape)
    return inner, inner


def _einsum_inner(node: ir.Node, x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> int:
    """Product of the lengths that the einsum sums over."""
    equation = node.attributes["equation"].as_string().replace(" ", "")
    terms, arrow, result = equation.partition("->")
    if "." in equation or not arrow:
        raise ModelError(
            f"node {node.name} (Einsum {equation}): write the output's labels out, without an ellipsis"
        )
    lengths: dict[str, int] = {}
    for labels, shape in zip(terms.split(","), (x_shape, w_shape), strict=True):
        lengths.update(zip(labels, shape, strict=True))
    return math.prod(length for label, length in lengths.items() if label not in result)
