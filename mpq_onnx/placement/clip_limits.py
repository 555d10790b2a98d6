"""Limits of Clip nodes, as real values and as levels of the quantizer that they stand beside."""

import numpy as np
import onnx_ir as ir

LATTICE_TOLERANCE = 1e-3
"""Of a step: how near the limits of a Clip of real values must be to levels to count as the ends of the quantizer."""


def constant_limits(clip: ir.Node) -> tuple[float, float] | None:
    """(lowest, highest) of a Clip with constant limits."""
    if len(clip.inputs) < 3 or any(value is None or value.const_value is None for value in clip.inputs[1:3]):
        return None
    ends = [value.const_value.numpy().astype(np.float64) for value in clip.inputs[1:3]]  # type: ignore[union-attr]
    if any(end.size != 1 or not np.isfinite(end).all() for end in ends):
        return None
    return float(ends[0].reshape(())), float(ends[1].reshape(()))


def level_limits(clip: ir.Node, scale: float, zero_point: int) -> tuple[int, int] | None:
    """The integers that a Clip of real values ends at; None where its limits lie between levels."""
    limits = constant_limits(clip)
    if limits is None:
        return None
    steps = np.array(limits) / scale
    whole = np.round(steps)
    if not np.isfinite(steps).all() or np.abs(steps - whole).max() > LATTICE_TOLERANCE:
        return None
    return int(whole[0]) + zero_point, int(whole[1]) + zero_point


def integer_limits(dtype: ir.DataType) -> tuple[int, int]:
    """(lowest, highest) of an integer type."""
    width = dtype.bitwidth
    return (-(2 ** (width - 1)), 2 ** (width - 1) - 1) if dtype.is_signed() else (0, 2**width - 1)
