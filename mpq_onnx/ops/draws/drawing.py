"""What a way of drawing normals is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from onnxscript import OpBuilder

NORMALS = "seed"
"""The attribute that seeds the normals themselves; every way has it."""


@dataclass(frozen=True)
class NoiseDraws:
    """A way to get N(0, 1) in the shape of a value, with nodes that go on from run to run."""

    prefix: str
    """Begins the names of the functions that draw so."""
    seeds: tuple[str, ...]
    """Attributes, a stream of random numbers each."""
    draw: Callable[[OpBuilder, ir.Value, str], ir.Value]
    """(op, like, of) -> N(0, 1) in the shape of `like`; `of` begins the names of the seeds (see noisy_function.DRAWN)."""


def seed_of(name: str) -> ir.Attr:
    """In a function's body: the function's attribute `name` as the seed of a node."""
    return ir.RefAttr(NORMALS, name, ir.AttributeType.FLOAT)
