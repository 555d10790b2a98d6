"""What gets a precision of its own, how much each weighs in a budget, and which levels it may have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpq_onnx.arithmetic.quantization import counted_bits
from mpq_onnx.graph.placement import ActivationSite, WeightSite
from mpq_onnx.graph.placement.mac_sites import MacSite
from mpq_onnx.registries import CHANNEL

Levels = dict[str, float | tuple[float, ...]]
"""Chosen width or energy by tensor or node: one, or one per output channel."""


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

    def levels(self, values: np.ndarray) -> Levels:
        """`values` [items] as one number, or a tuple of one per channel, by name."""
        return {
            name: float(part[0]) if len(part) == 1 else tuple(float(each) for each in part)
            for name, part in self.split(values).items()
        }

    def mean(self, values: np.ndarray) -> float:
        """sum(values * sizes) / sum(sizes)."""
        return float((values * self.sizes).sum() / self.sizes.sum())


@dataclass(frozen=True)
class WidthItems(Items):
    """Items that get a bit width."""

    choices: np.ndarray
    """float64 [choices], ascending: the widths that any item may have, log2 of their levels."""
    allowed: np.ndarray | None = None
    """bool [items, choices], at least one an item: which of them each may have; None for all."""
    own: np.ndarray | None = None
    """bool [items]: whose choices are not those of all others; None for none."""

    @cached_property
    def effective(self) -> np.ndarray:
        """int64 [items, choices]: the widest allowed choice that is not above each, else the narrowest allowed one."""
        places = np.arange(len(self.choices))
        if self.allowed is None:
            return np.broadcast_to(places, (len(self.sizes), len(places)))
        below = np.maximum.accumulate(np.where(self.allowed, places, -1), axis=1)
        return np.where(below < 0, self.allowed.argmax(axis=1)[:, None], below)

    @cached_property
    def bits(self) -> np.ndarray:
        """float64 [items, choices]: the widths that the choices come to where some are not allowed."""
        return self.choices[self.effective]

    def choices_of(self, name: str) -> np.ndarray:
        """int64: places of the choices that a tensor may have."""
        if self.allowed is None:
            return np.arange(len(self.choices))
        first = int(np.sum(self.counts[: self.names.index(name)]))
        return np.flatnonzero(self.allowed[first])


def weight_items(sites: Sequence[WeightSite], choices: Sequence[float], granularity: str) -> WidthItems:
    """Items of the weights; granularity "channel" makes one of every output channel, "layer" one of every tensor.

    A tensor of one scale has one width too: other widths have other scales.
    """
    by_channel = granularity == CHANNEL
    counts = [site.channels if by_channel and not site.has_one_scale else 1 for site in sites]
    sizes = [
        np.full(count, site.elements // count, np.int64) for site, count in zip(sites, counts, strict=True)
    ]
    return _width_items(sites, counts, sizes, choices)


def activation_items(sites: Sequence[ActivationSite], choices: Sequence[float]) -> WidthItems:
    """Items of the activations, one a tensor."""
    sizes = [np.array([site.elements], np.int64) for site in sites]
    return _width_items(sites, [1] * len(sites), sizes, choices)


def energy_items(sites: Sequence[MacSite], granularity: str) -> Items:
    """Items of the multiply-accumulate nodes, one a node or one an output channel; sizes are MACs of one example."""
    counts = [site.channels if granularity == CHANNEL else 1 for site in sites]
    sizes = [np.full(count, site.macs / count) for site, count in zip(sites, counts, strict=True)]
    return Items(tuple(site.node for site in sites), tuple(counts), np.concatenate(sizes))


def _width_items(
    sites: Sequence[WeightSite | ActivationSite],
    counts: Sequence[int],
    sizes: Sequence[np.ndarray],
    choices: Sequence[float],
) -> WidthItems:
    names = tuple(site.tensor for site in sites)
    joined = np.concatenate(sizes) if sizes else np.zeros(0, np.int64)
    common = _counted(choices)
    own = [common if site.choices is None else _counted(site.choices) for site in sites]
    everything = np.unique(np.concatenate([common, *own]))
    if all(site.choices is None for site in sites):
        return WidthItems(names, tuple(counts), joined, everything)
    allowed = np.repeat(np.stack([np.isin(everything, each) for each in own]), counts, axis=0)
    return WidthItems(
        names,
        tuple(counts),
        joined,
        everything,
        allowed,
        np.repeat([site.choices is not None for site in sites], counts),
    )


def _counted(widths: Sequence[float]) -> np.ndarray:
    """float64, ascending: the widths as they count."""
    return np.unique([counted_bits(width) for width in widths])
