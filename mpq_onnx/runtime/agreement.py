"""Do two models compute the same: their outputs on the same data, of any type."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

TIED = 1e-3
"""The share of an integer output that may differ: rounding of floats decides ties of an ArgMax."""

LARGEST_DIFFERENCE = 1e-3
"""Relative to the largest output: what roundings of floats explain."""


@dataclass(frozen=True)
class Agreement:
    """How far the outputs of two models lie apart."""

    difference: float
    """The largest absolute difference of finite numbers."""
    largest: float
    """The largest number of the wanted outputs."""
    fault: str | None
    """What cannot be measured as a difference: other shapes, other texts, NaN or infinity in one alone; None for nothing."""


def agreement(found: Sequence[np.ndarray], wanted: Sequence[np.ndarray], names: Sequence[str]) -> Agreement:
    """Compare outputs one by one; `names` are theirs."""
    if len(found) != len(wanted):
        return Agreement(0.0, 0.0, f"it has {len(found)} outputs, not {len(wanted)}")
    return joined(compare(*each) for each in zip(found, wanted, names, strict=True))


def joined(found: Iterable[Agreement]) -> Agreement:
    """Of several outputs, or of several batches of one, together."""
    parts = list(found)
    return Agreement(
        max((part.difference for part in parts), default=0.0),
        max((part.largest for part in parts), default=0.0),
        next((part.fault for part in parts if part.fault is not None), None),
    )


def compare(found: np.ndarray, wanted: np.ndarray, name: str) -> Agreement:
    """Of one output, which is called `name`."""
    if found.shape != wanted.shape:
        return Agreement(0.0, 0.0, f"output {name} has shape {found.shape}, not {wanted.shape}")
    if wanted.dtype.kind in "OSU" or found.dtype.kind in "OSU":
        same = np.array_equal(found.astype(str), wanted.astype(str))
        return Agreement(0.0, 0.0, None if same else f"output {name} holds other texts")
    if wanted.dtype.kind in "iub":
        apart = float(np.mean(found != wanted)) if wanted.size else 0.0
        fault = f"{100 * apart:.3g} % of output {name} differ" if apart > TIED else None
        return Agreement(0.0, float(np.abs(wanted.astype(np.float64)).max(initial=0)), fault)
    ours, theirs = found.astype(np.float64), wanted.astype(np.float64)
    finite = np.isfinite(theirs)
    if (
        not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True)
        or not np.isfinite(ours[finite]).all()
    ):
        return Agreement(
            0.0, 0.0, f"output {name} has NaN or infinity where the source has none, or the other way"
        )
    return Agreement(
        float(np.abs(ours[finite] - theirs[finite]).max(initial=0)),
        float(np.abs(theirs[finite]).max(initial=0)),
        None,
    )
