"""Build the ONNX function of a noisy operator: the multiply-accumulate, and the noise of any set of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from mpq_onnx.arithmetic.noise.model import Variance
from mpq_onnx.arithmetic.noise.traced import Traced, traced
from mpq_onnx.graph.absent_inputs import drop_absent_inputs
from mpq_onnx.ops import GEOMETRIES, Geometry
from mpq_onnx.ops.draws.drawing import NoiseDraws
from mpq_onnx.ops.geometry import Declared, attribute_type, attribute_value, real
from mpq_onnx.registries import EXACT, NOISE_DRAWS, NOISE_MODELS

if TYPE_CHECKING:
    from onnxscript import OpBuilder

DOMAIN = "mpq_onnx.noise"
VERSION = 1
OPSET = 21
"""onnxruntime has no CPU kernel for RandomNormalLike of later opsets."""

NOISE_ATTRIBUTES: Declared = {
    "noise": ir.AttributeType.STRINGS,
    "noise_draws": ir.AttributeType.STRING,
    "energy_unit": ir.AttributeType.STRING,
    "energy_per_mac": ir.AttributeType.FLOATS,
    "fan_in": ir.AttributeType.FLOAT,
    "weight_range": ir.AttributeType.FLOATS,
    "input_range": ir.AttributeType.FLOAT,
    "seed": ir.AttributeType.FLOAT,
    "weight_seed": ir.AttributeType.FLOAT,
    "row_seed": ir.AttributeType.FLOAT,
    "weight_row_seed": ir.AttributeType.FLOAT,
}
"""What a noisy node says beside the operator's own attributes (see docs/ops/)."""
OVER_OUTPUT, OVER_WEIGHT = DRAWN = ("", "weight_")
"""What normals are drawn for: the beginnings of the names of their seeds."""


def function_name(op_type: str, noises: Sequence[str], draws: str) -> str:
    """Such as BankThermalShotConv."""
    return NOISE_DRAWS[draws].prefix + "".join(noise.capitalize() for noise in noises) + op_type


def seed_names(draws: str) -> list[str]:
    """The seeds of a node whose normals come from `draws`, a name in NOISE_DRAWS; those that every way has are the first."""
    return [of + seed for seed in NOISE_DRAWS[draws].seeds for of in DRAWN]


def noisy_function(op_type: str, noises: Sequence[str], draws: str = EXACT) -> ir.Function:
    """The ONNX function of `op_type` with `noises`, for node inputs x, w and (where the operator has one) b.

    Args:
        op_type: a name in GEOMETRIES.
        noises: names in NOISE_MODELS, in that table's order.
        draws: a name in NOISE_DRAWS.
    """
    import onnxscript  # slow to load, and needed for nothing else here

    geometry = GEOMETRIES[op_type]
    names = ("x", "w", "b") if geometry.has_bias else ("x", "w")
    declared = {**geometry.attributes, **NOISE_ATTRIBUTES}
    function = onnxscript.build_function(
        lambda op, *values: _body(op, geometry, noises, NOISE_DRAWS[draws], *values),
        [ir.Value(name=name) for name in names],
        domain=DOMAIN,
        name=function_name(op_type, noises, draws),
        attributes={name: _declaration(name, value) for name, value in declared.items()},
        opset_imports={"": OPSET},
    )
    for node in function:
        node.metadata_props.clear()
    drop_absent_inputs(function)  # as it is when the file is read
    return function


def _declaration(name: str, declared: object) -> ir.Attr:
    value = None if isinstance(declared, ir.AttributeType) else declared
    return ir.Attr(name, attribute_type(declared), value)


def _body(
    op: OpBuilder,
    geometry: Geometry,
    noises: Sequence[str],
    draws: NoiseDraws,
    x: ir.Value,
    w: ir.Value,
    b: ir.Value | None = None,
) -> ir.Value:
    models = [NOISE_MODELS[noise] for noise in noises]
    over_weight = [model.weight_variance for model in models if model.weight_variance is not None]
    over_output = [model.output_variance for model in models if model.output_variance is not None]
    stored = w
    if over_weight:
        deviation = _deviation(op, over_weight, _OverWeight(op, geometry, x, w))
        stored = op.Add(w, _scaled(op, draws.draw(op, w, OVER_WEIGHT), deviation))
    y = geometry.mac(op, x, stored, b)
    if not over_output:
        return y
    first, *others = _deviation(op, over_output, _OverOutput(op, geometry, x, w))
    gain = geometry.gain(op)
    if gain is not None:
        first = op.Mul(first, gain)
    viewed = geometry.view(op, y, w)
    noisy = op.Add(viewed, _scaled(op, draws.draw(op, viewed, OVER_OUTPUT), [first, *others]))
    return noisy if viewed is y else op.Reshape(noisy, op.Shape(y))


def _deviation(op: OpBuilder, variances: Sequence[Variance], quantities: _Quantities) -> list[ir.Value]:
    """Standard deviation of independent noises together, as factors.

    A lone product stays apart: its factors are smaller than what they come to, and need a root each.
    """
    total = traced(variances[0], quantities)
    for variance in variances[1:]:
        total = op.Add(total, traced(variance, quantities))
    product = total.producer()
    if product is None or product.op_type != "Mul":
        return [op.Sqrt(total)]
    factors = list(product.inputs)
    product.graph.remove(product, safe=True)
    # The variance is positive, and so may be the product of two negative factors.
    return [op.Sqrt(op.Abs(factor)) for factor in reversed(factors)]


def _scaled(op: OpBuilder, noise: ir.Value, factors: Sequence[ir.Value]) -> ir.Value:
    for factor in factors:
        noise = op.Mul(noise, factor)
    return noise


@dataclass(frozen=True)
class _Nodes:
    """Makes the nodes of a formula."""

    op: OpBuilder

    def node(self, op_type: str, *operands: Any) -> ir.Value:
        """See Arithmetic."""
        values = [each if isinstance(each, ir.Value) else real(self.op, each) for each in operands]
        return getattr(self.op, op_type)(*values)  # type: ignore[no-any-return]


class _Quantities:
    """noise.Mac as ONNX values; only what a model asks for becomes nodes."""

    def __init__(self, op: OpBuilder, geometry: Geometry, x: ir.Value, w: ir.Value) -> None:
        self.op, self.geometry, self.x, self.w = op, geometry, x, w

    @property
    def fan_in(self) -> Traced:
        return self._scalar("fan_in")

    @property
    def energy_per_mac(self) -> Traced:
        return self._channels("energy_per_mac")

    @property
    def weight_range(self) -> Traced:
        return self._channels("weight_range")

    @property
    def input_range(self) -> Traced:
        return self._scalar("input_range")

    @property
    def input_square_sum(self) -> Traced:
        return self._traced(self.geometry.input_square_sum(self.op, self.x, self.w))

    @property
    def weight_square_sum(self) -> Traced:
        return self._traced(self.geometry.weight_square_sum(self.op, self.x, self.w))

    def _channels(self, name: str) -> Traced:
        raise NotImplementedError

    def _scalar(self, name: str) -> Traced:
        return self._traced(attribute_value(self.op, name, ir.AttributeType.FLOAT))

    def _traced(self, value: ir.Value) -> Traced:
        return Traced(_Nodes(self.op), value)

    def _vector(self, name: str) -> ir.Value:
        return attribute_value(self.op, name, ir.AttributeType.FLOATS)


class _OverOutput(_Quantities):
    def _channels(self, name: str) -> Traced:
        return self._traced(self.geometry.over_output(self.op, self._vector(name), self.w))


class _OverWeight(_Quantities):
    def _channels(self, name: str) -> Traced:
        return self._traced(self.geometry.over_weight(self.op, self._vector(name), self.w))
