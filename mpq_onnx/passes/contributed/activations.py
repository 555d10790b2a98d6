"""Gelu, BiasGelu, FastGelu and QuickGelu; and what fused products apply to their results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.passes.contributed.builder import ContributedBuilder, Rewriter

QUICK_SLOPE = 1.702
"""Of QuickGelu, where the node does not say."""


def gelu(builder: ContributedBuilder) -> tuple[ir.Value]:
    """The exact one, of x or of x plus a bias."""
    return (builder.of_today("Gelu", builder.plus(builder.input(0), builder.optional(1))),)


def fast_gelu(builder: ContributedBuilder) -> tuple[ir.Value]:
    """The one by tanh, of x or of x plus a bias."""
    summed = builder.plus(builder.input(0), builder.optional(1))
    return (builder.of_today("Gelu", summed, approximate="tanh"),)


def quick_gelu(builder: ContributedBuilder) -> tuple[ir.Value]:
    """x sigmoid(alpha x)"""
    alpha = builder.node.attributes.get_float("alpha", QUICK_SLOPE)
    return (builder.composite("Swish", builder.input(0), alpha=alpha),)


@dataclass(frozen=True)
class Applied:
    """An activation behind a fused product."""

    parameters: tuple[str, ...] = ()
    """Attributes of the standard operator, in the order in which a fused convolution lists them."""
    write: Callable[[ContributedBuilder, ir.Value, str, Mapping[str, float]], ir.Value] | None = None
    """Where the standard operator has no such attributes."""


def _clip(builder: ContributedBuilder, x: ir.Value, name: str, values: Mapping[str, float]) -> ir.Value:
    limits = (builder.number(each, values[each], x) for each in ("minimum", "maximum"))
    return builder.of_today(name, x, *limits)


def _of_today(builder: ContributedBuilder, x: ir.Value, name: str, values: Mapping[str, float]) -> ir.Value:
    return builder.of_today(name, x, **values)


APPLIED: dict[str, Applied] = {
    "Relu": Applied(),
    "Sigmoid": Applied(),
    "Tanh": Applied(),
    "Softplus": Applied(),
    "Softsign": Applied(),
    "HardSwish": Applied(write=_of_today),
    "LeakyRelu": Applied(("alpha",)),
    "Elu": Applied(("alpha",)),
    "ThresholdedRelu": Applied(("alpha",), _of_today),
    "HardSigmoid": Applied(("alpha", "beta")),
    "Selu": Applied(("alpha", "gamma")),
    "Clip": Applied(("minimum", "maximum"), _clip),
}


def applied(
    builder: ContributedBuilder, x: ir.Value, name: str, parameters: Sequence[float] | Mapping[str, float]
) -> ir.Value:
    """The activation `name` of `x`; "" is none.

    Args:
        parameters: by the standard operator's attributes, or in their order.

    Raises:
        ModelError: another activation, or too few parameters.
    """
    if not name:
        return x
    known = APPLIED.get(name)
    if known is None:
        raise builder.refusal(
            f"its activation {name} has no standard form here; {', '.join(sorted(APPLIED))} have"
        )
    found = (
        parameters
        if isinstance(parameters, Mapping)
        else dict(zip(known.parameters, parameters, strict=False))
    )
    missing = [each for each in known.parameters if each not in found]
    if missing:
        raise builder.refusal(f"its activation {name} lacks {', '.join(missing)}")
    values = {each: found[each] for each in known.parameters}
    return builder.op(name, x, **values) if known.write is None else known.write(builder, x, name, values)


OPS: dict[str, Rewriter] = {
    "Gelu": gelu,
    "BiasGelu": gelu,
    "FastGelu": fast_gelu,
    "QuickGelu": quick_gelu,
}
