"""Figures with their intervals: estimates, differences, spreads over repeats; signal to noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

import numpy as np

CONFIDENCE = 0.95
NORMAL_QUANTILE = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
NO_PREDICTION = int(np.iinfo(np.int64).min)
"""Among predictions: of an output with NaN, which is neither right nor the same as another. No label is so small."""


@dataclass(frozen=True)
class Estimate:
    """A metric with its confidence interval (95 %)."""

    value: float
    low: float
    high: float

    LIMITS: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    """What the metric cannot go beyond."""

    @staticmethod
    def share(hits: int, examples: int) -> "Share":
        """A share of examples, with Wilson's interval (Journal of the American Statistical Association 22, 1927).

        Written out: scipy.stats, which has it, takes a second to load.
        """
        value, weight = hits / examples, NORMAL_QUANTILE**2 / examples
        middle = (value + weight / 2) / (1 + weight)
        margin = math.sqrt(weight * (value * (1 - value) + weight / 4)) / (1 + weight)
        return Share(value, max(min(middle - margin, value), 0.0), min(max(middle + margin, value), 1.0))

    @staticmethod
    def normal(value: float, standard_error: float) -> "Estimate":
        """An estimate whose error is normal."""
        margin = NORMAL_QUANTILE * standard_error
        return Estimate(value, value - margin, value + margin)

    @staticmethod
    def mean(values: np.ndarray) -> "Estimate":
        """The mean of one value an example."""
        return Estimate.normal(float(values.mean()), float(values.std()) / math.sqrt(len(values)))

    @classmethod
    def bounded_mean(cls, values: np.ndarray) -> "Estimate":
        """The same, with an interval within the limits of such figures."""
        mean = Estimate.mean(values)
        return cls(mean.value, max(mean.low, cls.LIMITS[0]), min(mean.high, cls.LIMITS[1]))

    @staticmethod
    def over_repeats(repeats: Sequence["Estimate"]) -> "Estimate":
        """The mean of a metric over passes over the same examples with independent noise.

        The interval covers both: examples drawn anew (the mean of the passes' own variances, which more passes do not narrow)
        and noise drawn anew (the sample variance between passes over their number). Both variances add up; Student's t
        has the degrees of freedom of that sum (Welch and Satterthwaite), the examples' own counting as known.
        """
        values = np.array([each.value for each in repeats])
        if len(repeats) == 1:
            return repeats[0]
        kind = type(repeats[0])
        mean = float(values.mean())
        if not np.isfinite(values).all():
            return kind(mean, min(each.low for each in repeats), max(each.high for each in repeats))
        below = _margin(values, [each.value - each.low for each in repeats])
        above = _margin(values, [each.high - each.value for each in repeats])
        return kind(mean, max(mean - below, kind.LIMITS[0]), min(mean + above, kind.LIMITS[1]))


@dataclass(frozen=True)
class Share(Estimate):
    """A share of something."""

    LIMITS: ClassVar[tuple[float, float]] = (0.0, 1.0)


@dataclass(frozen=True)
class Cosine(Estimate):
    """The cosine of an angle."""

    LIMITS: ClassVar[tuple[float, float]] = (-1.0, 1.0)


@dataclass(frozen=True)
class Difference(Estimate):
    """Accuracy minus the baseline's on the same examples, with the interval of a paired comparison (95 %)."""

    @staticmethod
    def of(gained: int, lost: int, examples: int) -> "Difference":
        """Args: gained, lost: examples that only the model, only the baseline gets right."""
        value = (gained - lost) / examples
        variance = (gained + lost - (gained - lost) ** 2 / examples) / examples**2
        margin = NORMAL_QUANTILE * math.sqrt(max(variance, 0.0))
        return Difference(value, value - margin, value + margin)


def _margin(values: np.ndarray, margins: Sequence[float]) -> float:
    """Half an interval of the mean of `values`, one a repeat, each with its own half interval over the examples."""
    examples = float(np.mean(np.square(margins))) / NORMAL_QUANTILE**2
    noise = float(values.var(ddof=1)) / len(values)
    total = examples + noise
    if not total > 0:
        return total
    freedom = (len(values) - 1) * (total / noise) ** 2 if noise > 0 else math.inf
    return _student_quantile(freedom) * math.sqrt(total)


def _student_quantile(freedom: float) -> float:
    """What NORMAL_QUANTILE is where the variance is estimated."""
    from scipy.stats import t  # slow to load

    return float(t.ppf((1 + CONFIDENCE) / 2, freedom))


@dataclass(frozen=True)
class Spread:
    """A metric over repeated evaluations with independent noise."""

    mean: float
    deviation: float | None
    """Sample standard deviation between repeats; None for a single one."""
    low: float | None
    high: float | None
    """Confidence interval of the mean (95 %, Student's t) for these examples: what more repeats would narrow."""
    values: tuple[float, ...]

    @staticmethod
    def of(values: Sequence[float], limits: tuple[float, float] = Estimate.LIMITS) -> "Spread":
        """Args: limits: between which every value of this metric lies, and so its mean."""
        mean = float(np.mean(values))
        if len(values) < 2 or not np.isfinite(values).all():
            return Spread(mean, None, None, None, tuple(values))
        deviation = float(np.std(values, ddof=1))
        margin = _student_quantile(len(values) - 1) * deviation / math.sqrt(len(values))
        low, high = max(mean - margin, limits[0]), min(mean + margin, limits[1])
        return Spread(mean, deviation, low, high, tuple(values))


class PairedCounts:
    """Predictions of a model against those of a baseline."""

    def __init__(self) -> None:
        self.examples = self.same = self.gained = self.lost = 0
        self.labelled = False

    def update(self, ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray | None) -> None:
        """Take in one batch of predicted classes, int64 [examples], of both; NO_PREDICTION equals nothing."""
        self.examples += len(ours)
        self.same += int(((ours == theirs) & (ours != NO_PREDICTION)).sum())
        if labels is not None:
            self.labelled = True
            self.gained += int(((ours == labels) & (theirs != labels)).sum())
            self.lost += int(((ours != labels) & (theirs == labels)).sum())

    @property
    def agreement(self) -> Estimate | None:
        """Share of equal predictions, where there are any."""
        return Estimate.share(self.same, self.examples) if self.examples else None

    @property
    def difference(self) -> Difference | None:
        """Share of right predictions minus the baseline's, where there are labels."""
        return Difference.of(self.gained, self.lost, self.examples) if self.labelled else None


class SignalToNoise:
    """Signal to quantization noise ratio of one tensor, 10 log10(sum x^2 / sum (x - y)^2)."""

    def __init__(self) -> None:
        self.signal = self.noise = 0.0

    def update(self, exact: np.ndarray, found: np.ndarray) -> None:
        """Take in one batch of the tensor in both networks."""
        wanted, difference = comparable(exact, found)
        self.signal += float((wanted**2).sum())
        self.noise += float((difference**2).sum())

    def add(self, other: "SignalToNoise") -> None:
        """Take in what another has seen of the same tensor."""
        self.signal += other.signal
        self.noise += other.noise

    @property
    def decibels(self) -> float:
        """Infinite where nothing differs, minus infinite where there is no signal."""
        return decibels(self.signal, self.noise)


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two powers; infinite without noise, minus infinite without signal or with endless noise."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 and noise < math.inf else -math.inf


def comparable(exact: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(exact, exact minus found) in float64, where NaN and infinities are told apart.

    Equal ones (masked logits are minus infinity in both) are no signal and no noise; where only one is finite, or the two
    differ, the noise is infinite.
    """
    wanted, got = np.asarray(exact).astype(np.float64), np.asarray(found).astype(np.float64)
    if np.isfinite(wanted).all() and np.isfinite(got).all():
        return wanted, wanted - got
    same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
    finite = np.isfinite(wanted) & np.isfinite(got)
    difference = np.zeros_like(wanted)
    np.subtract(wanted, got, out=difference, where=finite)
    difference[~finite & ~same] = np.inf
    return np.where(np.isfinite(wanted), wanted, 0.0), difference
