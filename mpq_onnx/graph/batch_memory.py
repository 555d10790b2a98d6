"""How many examples are worked on at once: as many as fit into memory, whatever the size of their tensors."""

import contextlib
import ctypes
import gc
import math
from collections.abc import Iterable

FLOAT32_BYTES = 4


def examples_at_once(elements: int, most: int, memory: int) -> int:
    """How many examples of `elements` float32 numbers each fit into `memory` bytes: at least 1, at most `most`."""
    return max(min(memory // max(elements * FLOAT32_BYTES, 1), most), 1)


def elements_of(shapes: Iterable[tuple[int, ...]]) -> int:
    """Elements of tensors of the given shapes together."""
    return sum(map(math.prod, shapes))


def give_back_memory() -> None:
    """Let the system have what a finished stage has freed: glibc keeps large blocks for a process that freed such before."""
    gc.collect()  # sessions and graphs lie in circles
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
