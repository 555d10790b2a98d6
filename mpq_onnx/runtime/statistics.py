"""Figures with their intervals: estimates, differences, spreads over repeats; signal to noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm, t

CONFIDENCE = 0.95
NORMAL_QUANTILE = float(norm.ppf((1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Estimate:
    """A metric with its confidence interval (95 %)."""

    value: float
    low: float
    high: float

    @staticmethod
    def share(hits: int, examples: int, repeats: int = 1) -> "Estimate":
        """A share of examples, with Wilson's interval.

        Args: hits, examples: over all `repeats` passes over the same examples, which do not narrow the interval.
        """
        once = binomtest(round(hits / repeats), examples // repeats)
        interval = once.proportion_ci(CONFIDENCE, method="wilson")
        value = hits / examples
        return Estimate(value, min(float(interval.low), value), max(float(interval.high), value))

    @staticmethod
    def normal(value: float, standard_error: float) -> "Estimate":
        """An estimate whose error is normal."""
        margin = NORMAL_QUANTILE * standard_error
        return Estimate(value, value - margin, value + margin)

    @staticmethod
    def mean(values: np.ndarray, repeats: int = 1) -> "Estimate":
        """The mean of one value an example; repeats as for share."""
        error = float(values.std()) / math.sqrt(max(len(values) // repeats, 1))
        return Estimate.normal(float(values.mean()), error)


@dataclass(frozen=True)
class Difference:
    """Accuracy minus the baseline's on the same examples, with the interval of a paired comparison (95 %)."""

    value: float
    low: float
    high: float

    @staticmethod
    def of(gained: float, lost: float, examples: float) -> "Difference":
        """Args: gained, lost: examples that only the model, only the baseline gets right (means over repeated passes)."""
        value = (gained - lost) / examples
        variance = (gained + lost - (gained - lost) ** 2 / examples) / examples**2
        margin = NORMAL_QUANTILE * math.sqrt(max(variance, 0.0))
        return Difference(value, value - margin, value + margin)


@dataclass(frozen=True)
class Spread:
    """A metric over repeated evaluations with independent noise."""

    mean: float
    deviation: float | None
    """Sample standard deviation between repeats; None for a single one."""
    low: float | None
    high: float | None
    """Confidence interval of the mean (95 %, Student's t): what more repeats would narrow."""
    values: tuple[float, ...]

    @staticmethod
    def of(values: Sequence[float]) -> "Spread":
        mean = float(np.mean(values))
        if len(values) < 2:
            return Spread(mean, None, None, None, tuple(values))
        deviation = float(np.std(values, ddof=1))
        margin = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
        return Spread(mean, deviation, mean - margin, mean + margin, tuple(values))


class PairedCounts:
    """Predictions of a model against those of a baseline, over one pass or several."""

    def __init__(self, repeats: int = 1) -> None:
        self.repeats = repeats
        self.examples = self.same = self.gained = self.lost = 0
        self.labelled = False

    def update(self, ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray | None) -> None:
        """Take in one batch of predicted classes, int64 [examples], of both."""
        self.examples += len(ours)
        self.same += int((ours == theirs).sum())
        if labels is not None:
            self.labelled = True
            self.gained += int(((ours == labels) & (theirs != labels)).sum())
            self.lost += int(((ours != labels) & (theirs == labels)).sum())

    @property
    def agreement(self) -> Estimate:
        """Share of equal predictions."""
        return Estimate.share(self.same, self.examples, self.repeats)

    @property
    def difference(self) -> Difference | None:
        """Share of right predictions minus the baseline's, where there are labels."""
        if not self.labelled:
            return None
        return Difference.of(*(count / self.repeats for count in (self.gained, self.lost, self.examples)))


class SignalToNoise:
    """Signal to quantization noise ratio of one tensor, 10 log10(sum x^2 / sum (x - y)^2)."""

    def __init__(self) -> None:
        self.signal = self.noise = 0.0

    def update(self, exact: np.ndarray, found: np.ndarray) -> None:
        """Take in one batch of the tensor in both networks."""
        wanted = exact.astype(np.float64)
        self.signal += float((wanted**2).sum())
        self.noise += float(((wanted - found) ** 2).sum())

    @property
    def decibels(self) -> float:
        """Infinite where nothing differs, minus infinite where there is no signal."""
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal > 0 else -math.inf
