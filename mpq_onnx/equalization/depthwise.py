"""Equalization "depthwise": a tensor that depthwise convolutions alone read gets a scale a channel, at no cost in arithmetic.

Every channel of a depthwise convolution has one kernel, which takes the channel's factor: its weights have a scale a channel
too, so nothing is lost. Channels of such tensors often differ by orders of magnitude (MobileNet, YOLOX, PP-OCR), and the one
scale of the tensor leaves the small ones no levels (arXiv 2102.06366, ECAQ; arXiv 1906.04721, section 4).

Where a ReLU or less lies between, the factors go into the weights that make the tensor; behind any other operator, such as
Swish, they are a product with a constant, which is rounded together with that operator.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.graph.placement.sites import Shapes
from mpq_onnx.passes.channel_links import depthwise_tensors, find_links, is_depthwise
from mpq_onnx.progress import watched
from mpq_onnx.runtime.tensors import read_tensors, runner_with_outputs

BATCH_SIZE = 16
SMALLEST = 1e-3
"""A channel that hardly moves is not blown up further."""
GAIN = 1.0
"""Bits that the channels must win on average."""
SPREADS = 9
"""Lengths that are tried for the shorter end of the range."""


def factors(model: ir.Model, shapes: Shapes, dataset: Dataset, device: str) -> dict[str, tuple[float, ...]]:
    """What channels are divided by: by the producer's output where it takes them, else by the tensor."""
    stored = {
        link.name: link.stored
        for link in find_links(model, shapes)
        if all(is_depthwise(node) for node in link.consumers)
    }
    folded = {value.name for value in stored.values()}
    stored |= {str(value.name): value for value in depthwise_tensors(model) if value.name not in folded}
    ranges = _channel_ranges(model, [str(value.name) for value in stored.values()], dataset, device)
    found = {name: channel_factors(*ranges[str(value.name)]) for name, value in stored.items()}
    return {name: tuple(each.tolist()) for name, each in found.items() if each is not None}


def channel_factors(low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
    """Factors [channels], at most 1, with which channels share one range best; None where they hardly win.

    Args:
        low, high: [channels], the smallest and the largest value of each.

    A channel fills the range that the tensor's longer end spans; how long the shorter end is, is tried: values of a Swish
    reach as far below 0 in small channels as in large ones.
    """
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    live = high > low
    if not live.any():
        return None
    if -low.min() > high.max():
        return channel_factors(-high, -low)
    top, bottom = high.max(), -low.min()
    before = np.log2(top + bottom)
    best: np.ndarray | None = None
    least = before - GAIN
    for end in np.geomspace(max(bottom, SMALLEST * top), top, SPREADS) if bottom > 0 else (0.0,):
        below = -low / end if end > 0 else 0.0
        found = np.clip(np.maximum(high / top, below), SMALLEST, 1.0)
        bits = float(np.log2((top + end) * found[live]).mean())
        if bits <= least:
            best, least = np.where(live, found, 1.0), bits
    return best


def _channel_ranges(
    model: ir.Model, tensors: list[str], dataset: Dataset, device: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(low, high) of every channel on the calibration data, by tensor."""
    if not tensors:
        return {}
    runner = runner_with_outputs(model, tensors, device)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    count = len(dataset.ranks.own(dataset.parts(BATCH_SIZE)))
    for batch in watched(dataset.own_batches(BATCH_SIZE), "equalize", count):
        for name, array in zip(tensors, read_tensors(runner, tensors, batch.inputs), strict=True):
            axes = tuple(axis for axis in range(array.ndim) if axis != 1)
            known = [found[name]] if name in found else []
            found[name] = _hull([*known, (array.min(axis=axes), array.max(axis=axes))])
    every = dataset.ranks.gather(found)
    return {name: _hull([each[name] for each in every if name in each]) for name in tensors}


def _hull(ranges: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The (low, high) that hold all of them."""
    lows, highs = zip(*ranges, strict=True)
    return np.minimum.reduce(lows), np.maximum.reduce(highs)
