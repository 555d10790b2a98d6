"""The parts of a model's outputs that are compared each on its own: entries along an axis whose scales differ.

One figure over boxes of hundreds and scores of 0 to 1 says nothing about the scores. The rule, on the exact outputs of some
examples: along an axis of at most MOST_ENTRIES entries, sort the entries by root mean square; wherever the next one is more
than APART times the one before, a part ends. An entry of the smaller part then has less than 1/64 of a larger one's power: it
could be lost whole at a common signal to noise ratio of 18 dB. Entries that lie in [0, 1] throughout are probabilities, which
have one unit however seldom one of them occurs: they count with their common root mean square. Entries that are always 0
belong to the smallest part. Of several axes the one with the widest gap counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

APART = 8.0
MOST_ENTRIES = 512
FEWEST_VALUES = 8
"""Of an entry; the scale of fewer is not known."""
PROBABILITY_SLACK = 1e-3
"""Above 1, for rounding and quantizers."""
LONGEST_LIST = 3
"""Runs of entries that a name lists."""

Array = TypeVar("Array", bound=Any)
"""numpy's or torch's."""


@dataclass(frozen=True)
class OutputPart:
    """An output of a model, or some entries along one axis of it."""

    output: int
    """Its position among the outputs."""
    name: str
    axis: int | None = None
    """None: the whole output."""
    entries: tuple[int, ...] = ()

    def of(self, array: Array) -> Array:
        """This part of the output, [examples, ...], numpy or torch."""
        if self.axis is None:
            return array
        first, last = self.entries[0], self.entries[-1]
        chosen = slice(first, last + 1) if len(self.entries) == last - first + 1 else list(self.entries)
        place: tuple[Any, ...] = (*[slice(None)] * self.axis, chosen)
        return array[place]


def output_parts(names: Sequence[str], outputs: Sequence[np.ndarray]) -> tuple[OutputPart, ...]:
    """The parts of all outputs, in order.

    Args:
        names: of the outputs.
        outputs: exact values for some examples, [examples, ...] each.
    """
    return tuple(
        part
        for position, (name, array) in enumerate(zip(names, outputs, strict=True))
        for part in _parts(position, name, array)
    )


def _parts(position: int, name: str, array: np.ndarray) -> list[OutputPart]:
    found = [(axis, *_scales_apart(array, axis)) for axis in range(1, array.ndim) if _may_differ(array, axis)]
    axis, gap, members = max(found, key=lambda each: each[1], default=(0, 1.0, []))
    if gap <= APART:
        return [OutputPart(position, name)]
    return [
        OutputPart(position, f"{name}[{':, ' * axis}{_runs(entries)}]", axis, entries)
        for entries in sorted(members)
    ]


def _may_differ(array: np.ndarray, axis: int) -> bool:
    entries = array.shape[axis]
    return array.dtype.kind == "f" and 2 <= entries <= MOST_ENTRIES and array.size >= FEWEST_VALUES * entries


def _scales_apart(array: np.ndarray, axis: int) -> tuple[float, list[tuple[int, ...]]]:
    """(the widest gap between neighbouring scales, the entries of every part)."""
    others = tuple(each for each in range(array.ndim) if each != axis)
    values = np.where(np.isfinite(array), array, 0).astype(np.float64)
    scales = np.sqrt((values**2).mean(axis=others))
    unit = (values.min(axis=others) >= 0) & (values.max(axis=others) <= 1 + PROBABILITY_SLACK)
    if unit.any():
        scales[unit] = np.sqrt((scales[unit] ** 2).mean())
    order = np.argsort(scales, kind="stable")
    ordered = scales[order]
    # From 0 to the smallest scale there is no ratio: what is always 0 has no unit of its own.
    ratios = np.divide(ordered[1:], ordered[:-1], out=np.ones(len(order) - 1), where=ordered[:-1] > 0)
    parts = np.split(order, np.flatnonzero(ratios > APART) + 1)
    return float(ratios.max()), [tuple(sorted(part.tolist())) for part in parts]


def _runs(entries: Sequence[int]) -> str:
    """`0-3, 7`: neighbouring entries as runs."""
    breaks = np.flatnonzero(np.diff(entries) > 1) + 1
    runs = [
        f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in np.split(np.array(entries), breaks)
    ]
    if len(runs) > LONGEST_LIST:
        return f"{' '.join(runs[:LONGEST_LIST])} ... ({len(entries)} entries)"
    return " ".join(runs)
