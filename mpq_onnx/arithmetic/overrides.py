"""Widths that are given for some nodes, by name, wildcard or operator.

Written as `conv1:weights=8,activations=16`; a value is a width, several to choose from (`4|8`), or `float`. Weights are those
that the node multiplies, activations its outputs. Widths that are given count in the budget like all others.
"""

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass

from mpq_onnx.arithmetic.quantization import MAXIMUM_BITS
from mpq_onnx.errors import UsageError

FLOAT = "float"
SIDES = ("weights", "activations")
EXAMPLE = (
    "write NODE:weights=8,activations=16, with a node's name, a wildcard or an operator, and widths or float"
)
Widths = tuple[float, ...]
"""To choose from; none for float."""


@dataclass(frozen=True)
class Override:
    """One of them."""

    pattern: str
    weights: Widths | None = None
    """None where nothing is said."""
    activations: Widths | None = None

    def matches(self, node: str, op_type: str) -> bool:
        """Is the node meant?"""
        return self.pattern == op_type or fnmatch.fnmatchcase(node, self.pattern)


def read_overrides(overrides: Sequence[str], excluded: Sequence[str]) -> tuple[Override, ...]:
    """From their texts; what is excluded stays float, weights and outputs.

    Raises:
        UsageError: a text that says no override.
    """
    return (*map(_read, overrides), *(Override(pattern, (), ()) for pattern in excluded))


def _read(text: str) -> Override:
    pattern, colon, said = text.rpartition(":")
    values: dict[str, Widths] = {}
    for part in said.split(","):
        side, equals, value = part.partition("=")
        if not (pattern and colon and equals and side in SIDES and side not in values):
            raise UsageError(f"--override {text}: {EXAMPLE}")
        values[side] = _widths(text, side, value)
    return Override(pattern, **values)


def _widths(text: str, side: str, value: str) -> Widths:
    if value == FLOAT:
        return ()
    smallest = 0 if side == "weights" else 1
    try:
        widths = tuple(float(each) for each in value.split("|"))
    except ValueError:
        raise UsageError(f"--override {text}: {value!r} is no width; {EXAMPLE}") from None
    for width in widths:
        if not (math.isfinite(width) and smallest <= width <= MAXIMUM_BITS):
            raise UsageError(f"--override {text}: {width:g} is not a width from {smallest} to {MAXIMUM_BITS}")
    return widths
