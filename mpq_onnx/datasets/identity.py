"""What an example is known by, whatever its place in the data: a key of its content, or of its file's name."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

Describe = Callable[[Sequence[int]], Iterable[bytes]]
"""Bytes for every example of some indices: equal bytes, equal examples."""
WIDTHS = {"float16": "float32", "float64": "float32"} | dict.fromkeys(
    ("int8", "int16", "int32", "uint16", "uint32", "uint64"), "int64"
)
"""Types that examples are known by in another: what numpy, pandas and torch make of the same numbers differs in that.

Not uint8: images of bytes are known by their bytes.
"""
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
    """Name, type and values of every example of arrays [examples, ...]; the same for a copy in WIDTHS' other type."""
    kept = [
        (name, array, np.dtype(WIDTHS.get(str(array.dtype), array.dtype)))
        for name, array in sorted(arrays.items())
    ]
    heads = [f"{name} {dtype} {array.shape[1:]}".encode() for name, array, dtype in kept]
    for index in indices:
        with np.errstate(over="ignore"):  # where that matters is refused by who reads the values
            rows = [array[index].astype(dtype, copy=False).tobytes() for _, array, dtype in kept]
        parts = zip(heads, rows, strict=True)
        yield b"\0".join(part for pair in parts for part in pair)
