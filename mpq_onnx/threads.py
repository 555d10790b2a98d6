"""Independent items by the threads of this process, side by side: numpy lets other threads go on while it computes."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

VARIABLE = "OMP_NUM_THREADS"
"""Of the environment: how many threads work on one result; torch and onnxruntime keep to it as well."""


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wanted_threads() -> int:
    """What the environment says; 0 where it says nothing."""
    said = os.environ.get(VARIABLE, "")
    return int(said) if said.isdecimal() else 0


def side_by_side(make: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What `make` gives of every item, in their order; as many at once as the environment wants, or one a core.

    `make` must change nothing that another item's call reads. What it raises is raised here, that of the first item first.
    """
    threads = min(wanted_threads() or cores(), len(items))
    if threads < 2:
        return [make(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(make, items))
