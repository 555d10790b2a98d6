"""What the numbers that a Reshape is given stand for."""

import math
from collections.abc import Sequence

COPIED, REST = 0, -1


def resolved_sizes(shape: Sequence[int | None], target: list[int], keep_zeros: bool) -> list[int] | None:
    """The shape that a Reshape's target makes of one whose lengths are all known; None where that cannot be told."""
    if None in shape:
        return None
    known = [int(size) for size in shape if size is not None]
    sizes = [
        known[place] if size == COPIED and not keep_zeros and place < len(known) else size
        for place, size in enumerate(target)
    ]
    if REST in sizes:
        others = math.prod(size for size in sizes if size != REST)
        if not others:
            return None
        sizes[sizes.index(REST)] = math.prod(known) // others
    return sizes
