"""How well each part of a model's outputs survives: signal to noise, cosine, agreement, a line a part."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mpq_onnx.runtime.scores.values import cosines
from mpq_onnx.runtime.statistics import NORMAL_QUANTILE, Cosine, Estimate, Share, comparable, decibels

FIGURES = ("sqnr", "cosine", "agreement")
"""Of a part; in all of them more is better."""
FLOATS, LABELS, TEXT, LENGTHS = "floats", "labels", "text", "lengths"
NOT_COMPARED = (TEXT, LENGTHS)


@dataclass(frozen=True)
class PartFigures:
    """One output, or one part of it, against the baseline's."""

    part: str
    kind: str
    """floats; labels: whole numbers and truth values; text, and lengths that differ with the data: not compared."""
    sqnr: Estimate | None = None
    """Decibels, of floats: all examples' power over all examples' squared error."""
    cosine: Estimate | None = None
    """Of floats: mean over the examples."""
    agreement: Estimate | None = None
    """Of labels: the share of equal entries, mean over the examples."""
    constant: bool = False
    """Whether it is the same for every example, where the baseline's is not."""

    @staticmethod
    def over_repeats(repeats: Sequence["PartFigures"]) -> "PartFigures":
        """The mean of every figure (see Estimate.over_repeats)."""
        first = repeats[0]
        means = {}
        for name in FIGURES:
            found = [getattr(each, name) for each in repeats]
            means[name] = None if None in found else Estimate.over_repeats(found)
        kind = LENGTHS if any(each.kind == LENGTHS for each in repeats) else first.kind
        return PartFigures(first.part, kind, **means, constant=all(each.constant for each in repeats))


def worst(parts: Iterable[PartFigures], figure: str) -> tuple[Estimate, str] | None:
    """The least of a figure (a name in FIGURES) over the parts that have it, NaN before all others, and its part; or None."""
    found = [(each, part.part) for part in parts if (each := getattr(part, figure)) is not None]
    return min(
        found, key=lambda each: -math.inf if math.isnan(each[0].value) else each[0].value, default=None
    )


class Constancy:
    """Whether all examples that were seen are the same."""

    def __init__(self) -> None:
        self.first: np.ndarray | None = None
        self.holds = True

    def update(self, examples: np.ndarray) -> None:
        """Take in one batch, [examples, ...]."""
        if self.first is None and len(examples):
            self.first = examples[0]
        if self.holds and self.first is not None:
            self.holds = self.first.shape == examples.shape[1:] and bool((examples == self.first).all())


class PartTally:
    """Gathers the figures of one part, batch by batch."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.kind = FLOATS
        self.signal: list[np.ndarray] = []
        self.noise: list[np.ndarray] = []
        self.cosines: list[np.ndarray] = []
        self.equal: list[np.ndarray] = []
        self.ours, self.theirs = Constancy(), Constancy()

    def update(self, exact: np.ndarray, found: np.ndarray) -> None:
        """Take in one batch, [examples, ...], from both networks; of other shapes in one of them nothing is left to compare."""
        if self.kind == LENGTHS or exact.shape != found.shape:
            self.kind = LENGTHS
            return
        self.theirs.update(exact)
        self.ours.update(found)
        kinds = {exact.dtype.kind, found.dtype.kind}
        if not kinds <= set("fiub"):
            self.kind = TEXT
        elif "f" not in kinds:
            self.kind = LABELS
            self.equal.append(_rows(exact == found).mean(axis=1))
        else:
            wanted, difference = (_rows(each) for each in comparable(exact, found))
            self.signal.append((wanted**2).sum(axis=1))
            self.noise.append((difference**2).sum(axis=1))
            self.cosines.append(cosines(wanted, wanted - difference))

    @property
    def figures(self) -> PartFigures:
        """Of all that was taken in."""
        constant = self.ours.holds and not self.theirs.holds
        if self.kind == LABELS:
            agreement = Share.bounded_mean(np.concatenate(self.equal))
            return PartFigures(self.part, self.kind, agreement=agreement, constant=constant)
        if self.kind in NOT_COMPARED or not self.signal:
            return PartFigures(self.part, self.kind)
        return PartFigures(
            self.part,
            self.kind,
            sqnr=_ratio(np.concatenate(self.signal), np.concatenate(self.noise)),
            cosine=Cosine.bounded_mean(np.concatenate(self.cosines)),
            constant=constant,
        )


def _rows(array: np.ndarray) -> np.ndarray:
    """[examples, everything of one]."""
    return array.reshape(len(array), -1) if array.size else np.zeros((len(array), 1))


def _ratio(signal: np.ndarray, noise: np.ndarray) -> Estimate:
    """Decibels of the two powers, one each an example, with the interval of a ratio of means (first order)."""
    value = decibels(float(signal.sum()), float(noise.sum()))
    if not math.isfinite(value):
        return Estimate(value, value, value)
    spread = (signal / signal.mean() - noise / noise.mean()).std() / math.sqrt(len(signal))
    margin = NORMAL_QUANTILE * 10 / math.log(10) * float(spread)
    return Estimate(value, value - margin, value + margin)
