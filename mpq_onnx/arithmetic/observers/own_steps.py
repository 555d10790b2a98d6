"""The step of values that lie on a grid already: ternary and binary networks, weights trained at a few bits.

A range that is searched between the extremes alone misses it wherever a row does not use all levels.
"""

import numpy as np

LOOKED_AT = 64
"""Numbers of a row that tell most rows without a grid."""
EQUAL = 1e-6
"""Numbers nearer than this share of their row's range are one: computed in float32."""
ON_GRID = 1e-3
"""Largest distance from a whole number of steps, in steps."""


def own_steps(values: np.ndarray, low: np.ndarray, high: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The largest step of which all values of a row are multiples, where no more than `levels` of these span them with zero.

    Args:
        values: [rows, n].
        low, high: [rows], the extremes of every row, zero among its values.
        levels: [rows].

    Returns:
        float64 [rows]; nan where there is none.
    """
    found = np.full(len(values), np.nan)
    ends = np.stack([low, high], axis=1).astype(np.float64)
    few = np.concatenate([values[:, :LOOKED_AT], ends, np.zeros((len(values), 1))], axis=1)
    candidates = np.flatnonzero(_may_lie_on_grid(few, ends, levels))
    for row in candidates:
        step = _step(np.unique([*values[row].astype(np.float64), 0.0]), int(levels[row]))
        found[row] = np.nan if step is None else step
    return found


def _may_lie_on_grid(few: np.ndarray, ends: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """bool [rows]: no two numbers are nearer than so many levels allow."""
    span = ends[:, 1] - ends[:, 0]
    gaps = np.diff(np.sort(few.astype(np.float64), axis=1), axis=1)
    least = np.where(gaps > EQUAL * span[:, None], gaps, np.inf).min(axis=1)
    return (span > 0) & (least * np.maximum(levels - 1, 1) >= span * (1 - ON_GRID))


def _step(values: np.ndarray, levels: int) -> float | None:
    """Of one row's different values in order, zero among them."""
    span = values[-1] - values[0]
    kept = values[np.diff(values, prepend=-np.inf) > EQUAL * span]
    if len(kept) > levels:
        return None
    steps = span / np.arange(1, levels)
    multiples = kept / steps[:, None]
    fits = (np.abs(multiples - np.round(multiples)) <= ON_GRID).all(axis=1)
    return float(steps[np.argmax(fits)]) if fits.any() else None
