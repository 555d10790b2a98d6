"""How long files take, side by side."""

import time
from collections.abc import Mapping, Sequence

import numpy as np

from mpq_onnx.runtime.session import Runner

SECONDS = 0.3
"""Of measuring, after a first run of each."""
FEWEST, MOST = 5, 100
"""Runs of each."""
QUIET = 0.2
"""Quantile of the times of many runs: others on the machine make runs longer, never shorter."""


def interleaved_milliseconds(runners: Sequence[Runner], feeds: Mapping[str, np.ndarray]) -> list[float]:
    """The time that each takes for `feeds`; they run in turn, so that a machine that is busy for a while disturbs all alike."""
    for each in runners:
        each.run(feeds)
    times: list[list[float]] = [[] for _ in runners]
    end = time.perf_counter() + SECONDS
    while len(times[0]) < FEWEST or (time.perf_counter() < end and len(times[0]) < MOST):
        for own, each in zip(times, runners, strict=True):
            start = time.perf_counter()
            each.run(feeds)
            own.append(1e3 * (time.perf_counter() - start))
    return [float(np.quantile(own, QUIET)) for own in times]
