"""What a search is to keep: a value of a metric, or all but a little of the baseline's."""

from collections.abc import Mapping
from dataclasses import dataclass

from mpq_onnx.errors import DataError, UsageError
from mpq_onnx.runs.declared import check_is_number
from mpq_onnx.runs.gates import SHARES, check_goal

OF_ITSELF = {"agreement": 1.0, "cosine": 1.0}
"""What the baseline has of the metrics that compare with it."""


@dataclass(frozen=True)
class Goal:
    """A metric and the least value that it must reach."""

    metric: str
    least: float

    def __post_init__(self) -> None:
        check_is_number("min", self.least)
        check_goal(self.metric, self.least)

    def is_reached(self, metrics: Mapping[str, float], baseline: Mapping[str, float]) -> bool:
        """Is the value reached?"""
        return metrics[self.metric] >= self.least


@dataclass(frozen=True)
class Drop:
    """A metric of which at most so much may be lost, against the baseline: the float model, or the noise-free one."""

    metric: str
    most: float

    def __post_init__(self) -> None:
        check_is_number("max-drop", self.most)
        if self.metric not in SHARES or not 0 <= self.most <= 1:
            raise UsageError(
                f"--max-drop {self.metric}={self.most:.12g}: write a share from 0 to 1 of {', '.join(sorted(SHARES))}"
            )

    def is_reached(self, metrics: Mapping[str, float], baseline: Mapping[str, float]) -> bool:
        """Is no more lost?"""
        whole = OF_ITSELF.get(self.metric, baseline.get(self.metric))
        if whole is None:
            raise DataError(f"--max-drop {self.metric}: the baseline has no such metric here; give --min")
        return metrics[self.metric] >= whole - self.most


def check_goals(goals: tuple[Goal | Drop, ...]) -> None:
    if not goals:
        raise UsageError(
            "give --min METRIC=VALUE, such as top1=0.90, or --max-drop top1=0.01: what the search is to keep"
        )
