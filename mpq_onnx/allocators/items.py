"""The free choices of one budget: what has its own width, and how much each choice weighs in the mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpq_onnx.placement import ActivationSite, WeightSite
from mpq_onnx.quantization import counted_bits

Widths = dict[str, float | tuple[float, ...]]
"""Chosen width, or one per output channel, by tensor."""


@dataclass(frozen=True)
class Items:
    """One item a tensor or node, or one an output channel of it, in the order of `names`."""

    names: tuple[str, ...]
    counts: tuple[int, ...]
    """Items of each name."""
    sizes: np.ndarray
    """[items]: how much each item weighs in the mean (elements, or MACs)."""

    def join(self, by_name: Mapping[str, np.ndarray]) -> np.ndarray:
        """Arrays whose first axis runs over a name's items, one after the other."""
        return np.concatenate([by_name[name] for name in self.names]) if self.names else np.zeros(0)

    def split(self, joined: np.ndarray) -> dict[str, np.ndarray]:
        """Inverse of join."""
        if not self.names:
            return {}
        parts = np.split(joined, np.cumsum(self.counts)[:-1])
        return dict(zip(self.names, parts, strict=True))

    def mean(self, values: np.ndarray) -> float:
        """sum(values * sizes) / sum(sizes)."""
        return float((values * self.sizes).sum() / self.sizes.sum())


@dataclass(frozen=True)
class WidthItems(Items):
    """Items that get a bit width."""

    choices: np.ndarray
    """float64 [choices], ascending: the widths that may be chosen, log2 of their levels."""


def weight_items(sites: Sequence[WeightSite], choices: Sequence[float], granularity: str) -> WidthItems:
    """Items of the weights; granularity "channel" makes one of every output channel, "layer" one of every tensor.

    A tensor of one scale has one width too: other widths have other scales.
    """
    by_channel = granularity == "channel"
    counts = [site.channels if by_channel and not site.has_one_scale else 1 for site in sites]
    sizes = [
        np.full(count, site.elements // count, np.int64) for site, count in zip(sites, counts, strict=True)
    ]
    return _items([site.tensor for site in sites], counts, sizes, choices)


def activation_items(sites: Sequence[ActivationSite], choices: Sequence[float]) -> WidthItems:
    """Items of the activations, one a tensor."""
    sizes = [np.array([site.elements], np.int64) for site in sites]
    return _items([site.tensor for site in sites], [1] * len(sites), sizes, choices)


def widths_by_tensor(items: WidthItems, bits: np.ndarray) -> Widths:
    """`bits` [items] as one number, or a tuple of one per channel, by tensor."""
    return {
        tensor: float(part[0]) if len(part) == 1 else tuple(float(width) for width in part)
        for tensor, part in items.split(bits).items()
    }


def _items(
    tensors: Sequence[str], counts: Sequence[int], sizes: Sequence[np.ndarray], choices: Sequence[float]
) -> WidthItems:
    joined = np.concatenate(sizes) if sizes else np.zeros(0, np.int64)
    return WidthItems(
        tuple(tensors), tuple(counts), joined, np.unique([counted_bits(width) for width in choices])
    )
