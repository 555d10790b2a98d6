"""How many examples are worked on at once: as many as fit into memory, whatever the size of their tensors."""

import contextlib
import ctypes
import gc
import math
import sys
from collections.abc import Iterable

FLOAT32_BYTES = 4
LARGE_PROCESS = 3 * 2**29
"""Bytes: libraries and a small network stay below."""


def examples_at_once(elements: int, most: int, memory: int) -> int:
    """How many examples of `elements` float32 numbers each fit into `memory` bytes: at least 1, at most `most`."""
    return max(min(memory // max(elements * FLOAT32_BYTES, 1), most), 1)


def elements_of(shapes: Iterable[tuple[int, ...]]) -> int:
    """Elements of tensors of the given shapes together."""
    return sum(map(math.prod, shapes))


def give_back_memory() -> None:
    """Let the system have what a finished stage has freed, where a process has grown large: glibc keeps large blocks for one
    that freed such before. It takes a fraction of a second, so that small networks do without."""
    if _most_memory() < LARGE_PROCESS:
        return
    gc.collect()  # sessions and graphs lie in circles
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _most_memory() -> int:
    """Bytes that this process has had at most; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
