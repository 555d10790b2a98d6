"""What an example is known by, whatever its place in the data: a key of its content, or of its file's name."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

Describe = Callable[[Sequence[int]], Iterable[bytes]]
"""Bytes for every example of some indices: equal bytes, equal examples."""
BLOCK = 256
"""Examples described at once."""


def keys_of(describe: Describe, indices: Sequence[int]) -> np.ndarray:
    """uint64 [examples]: 64 bits of BLAKE2b of what `describe` says of each."""
    found = np.empty(len(indices), np.uint64)
    place = 0
    for start in range(0, len(indices), BLOCK):
        for description in describe(indices[start : start + BLOCK]):
            digest = hashlib.blake2b(description, digest_size=8).digest()
            found[place] = int.from_bytes(digest, "little")
            place += 1
    return found


def array_rows(arrays: Mapping[str, np.ndarray], indices: Sequence[int]) -> Iterator[bytes]:
    """Name, type and values of every example of arrays [examples, ...]."""
    kept = sorted(arrays.items())
    heads = [f"{name} {array.dtype} {array.shape[1:]}".encode() for name, array in kept]
    for index in indices:
        parts = zip(heads, (array[index].tobytes() for _, array in kept), strict=True)
        yield b"\0".join(part for pair in parts for part in pair)
