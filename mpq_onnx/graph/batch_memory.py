"""How many examples are worked on at once: as many as fit into memory, whatever the size of their tensors."""

import math
from collections.abc import Iterable

FLOAT32_BYTES = 4


def examples_at_once(elements: int, most: int, memory: int) -> int:
    """How many examples of `elements` float32 numbers each fit into `memory` bytes: at least 1, at most `most`."""
    return max(min(memory // max(elements * FLOAT32_BYTES, 1), most), 1)


def elements_of(shapes: Iterable[tuple[int, ...]]) -> int:
    """Elements of tensors of the given shapes together."""
    return sum(map(math.prod, shapes))
