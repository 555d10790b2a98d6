"""Multiply-accumulate nodes of any ONNX graph, float or QDQ: what physical noise needs to know of each.

x is the operand that streams, w the one that an analog array holds: a constant, or an activation as in attention (see
graph.mac).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.mac import Mac, macs_of
from mpq_onnx.graph.operators import is_standard
from mpq_onnx.graph.placement.quantizer_ranges import quantizer_axis, quantizer_range
from mpq_onnx.graph.placement.sites import Shapes, value_shape
from mpq_onnx.graph.quantizers import quantizer_behind
from mpq_onnx.registries import NOISE_MODELS


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
        ModelError: an Einsum of more than two operands.
    """
    for node in model.graph:
        if node.op_type == "Einsum" and is_standard(node) and len(node.inputs) > 2:
            raise ModelError(f"node {node.name} (Einsum): only products of two operands are counted")
    return tuple(_site(mac, shapes, stored_levels, ignore_groups) for mac in macs_of(model.graph))


def _site(mac: Mac, shapes: Shapes, stored_levels: Mapping[str, np.ndarray], ignore_groups: bool) -> MacSite:
    def shape(value: ir.Value) -> tuple[int, ...]:
        return value_shape(value, shapes)

    held_shape = shape(mac.held)
    channels = mac.channels(held_shape) if mac.is_constant and mac.node.op_type != "Einsum" else 1
    x_range = quantizer_range(mac.data, stored_levels)
    w_range = _held_range(mac, held_shape, channels, stored_levels)
    return MacSite(
        node=str(mac.node.name),
        op_type=mac.node.op_type,
        input=str(mac.data.name),
        weight=str(mac.held.name),
        output=str(mac.output.name),
        channels=channels,
        fan_in=mac.fan_in(shape) * (mac.group if ignore_groups else 1),
        macs=mac.macs(shape),
        weight_range=None if w_range is None else tuple(w_range.tolist()),
        input_range=None if x_range is None else float(x_range.max()),
    )


def _held_range(
    mac: Mac, shape: tuple[int, ...], channels: int, stored_levels: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    """R_w of every output channel of this use; the largest where the quantizer's axis is another one."""
    found = quantizer_range(mac.held, stored_levels)
    if found is None or found.size == 1:
        return found
    axis = mac.channel_axis(shape)
    if (
        axis is not None
        and channels > 1
        and quantizer_axis(mac.held, len(shape)) == axis
        and found.size == shape[axis]
    ):
        return np.tile(found, mac.repeats(shape))
    return found.max(keepdims=True)


@dataclass(frozen=True)
class MissingRange:
    """A quantizer that a noise model needs the range of, at an operand that has none."""

    noise: str
    node: str
    tensor: str
    is_weight: bool
    """The operand that is held."""

    def __str__(self) -> str:
        """What is missing, and where; what is to be done is the caller's to say."""
        return (
            f"{self.noise} noise at node {self.node} scales with the range of the quantizer of {self.tensor}"
        )


def missing_range(
    site: MacSite, noises: Sequence[str], has_weight_range: bool, has_input_range: bool
) -> MissingRange | None:
    """The first range that `noises` need of a node, and that it has not."""
    for name in noises:
        model = NOISE_MODELS[name]
        if model.needs_weight_range and not has_weight_range:
            return MissingRange(name, site.node, site.weight, True)
        if model.needs_input_range and not has_input_range:
            return MissingRange(name, site.node, site.input, False)
    return None


def check_ranges(site: MacSite, noises: Sequence[str], model: ir.Model | None = None) -> None:
    """Raise ModelError where a noise model needs the range of a quantizer that the node does not have.

    Args:
        model: that the node is of, for a message that tells dynamic ranges from none.
    """
    missing = missing_range(site, noises, site.weight_range is not None, site.input_range is not None)
    if missing is None:
        return
    if model is not None and _has_dynamic_range(model, missing):
        raise ModelError(
            f"{missing}, which has another one for every example: give a model that was allocated with --activation-ranges"
            " static"
        )
    raise ModelError(
        f"{missing}, and there is none: give a quantized model, or --weight-bits 8 --activation-bits 8"
    )


def _has_dynamic_range(model: ir.Model, missing: MissingRange) -> bool:
    mac = next(each for each in macs_of(model.graph) if each.node.name == missing.node)
    found = quantizer_behind(mac.held if missing.is_weight else mac.data)
    return found is not None and found.is_per_example
