"""Every split and every subset: by a seeded permutation that does not depend on the order in which the data comes.

Each example gets a random number made from the seed and its key (see identity.py), and the examples are sorted by it. So a data
set that is sorted by class and a shuffled copy of it give the very same examples in the very same order; a part from the front
of a drawn data set is a sample of all of it; and a part that is drawn again, by the same seed, stays as it is.
"""

import numpy as np

from mpq_onnx.datasets.base import Dataset

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def drawn(dataset: Dataset, seed: int) -> Dataset:
    """All examples of `dataset` in an order drawn by `seed`; those that belong together (pairs) stay beside each other."""
    size = dataset.examples.together
    whole = len(dataset) // size
    keys = np.zeros(whole, np.uint64)
    for member in dataset.keys()[: whole * size].reshape(whole, size).T:
        keys = _mixed(keys) ^ member
    numbers = _mixed(_mixed(keys ^ _mixed(np.array([seed], np.uint64))) + _repeats(keys) * GOLDEN)
    positions = (np.argsort(numbers, kind="stable")[:, None] * size + np.arange(size)).reshape(-1)
    return dataset.part(np.concatenate([positions, np.arange(whole * size, len(dataset))]))


def split(dataset: Dataset, seed: int, share: int) -> tuple[Dataset, Dataset]:
    """(the rest, one example in `share`, at least one), both in drawn order."""
    order = drawn(dataset, seed)
    size = dataset.examples.together
    kept = max(len(order) // share // size, 1) * size
    return order.part(range(kept, len(order))), order.part(range(kept))


def _repeats(keys: np.ndarray) -> np.ndarray:
    """uint64: how many equal keys stand before each. Equal examples get different numbers by it, and no block of the order."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    repeats = np.empty(len(keys), np.uint64)
    repeats[order] = np.arange(len(keys)) - np.searchsorted(ordered, ordered)
    return repeats


def _mixed(values: np.ndarray) -> np.ndarray:
    """The mixing function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) on uint64."""
    values = values + GOLDEN
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
