"""Equalization "activation-channels": every channel of a tensor fills its quantizer, as if each had a scale of its own.

s_c is the largest magnitude that channel c reaches on the calibration data, over that of the largest channel; folded into the
weights that read the tensor, depthwise ones too, an activation's per-channel scales cost nothing (arXiv 2102.06366, ECAQ).
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.graph.placement.sites import Shapes
from mpq_onnx.passes.channel_links import find_links
from mpq_onnx.progress import watched
from mpq_onnx.runtime.tensors import read_tensors, runner_with_outputs

BATCH_SIZE = 64
SMALLEST = 1e-3
"""A channel that hardly moves is not blown up further: its weights would lose theirs."""


def factors(model: ir.Model, shapes: Shapes, dataset: Dataset, device: str) -> dict[str, tuple[float, ...]]:
    """s_c by producer's output."""
    links = find_links(model, shapes)
    if not links:
        return {}
    tensors = list(dict.fromkeys(str(link.stored.name) for link in links))
    largest: dict[str, np.ndarray] = {}
    runner = runner_with_outputs(model, tensors, device)
    count = len(dataset.ranks.own(dataset.parts(BATCH_SIZE)))
    for batch in watched(dataset.own_batches(BATCH_SIZE), "equalize", count):
        for name, array in zip(tensors, read_tensors(runner, tensors, batch.inputs), strict=True):
            seen = np.abs(array).max(axis=tuple(axis for axis in range(array.ndim) if axis != 1))
            largest[name] = np.maximum(largest.get(name, 0), seen)
    every = dataset.ranks.gather(largest)
    top = {name: np.maximum.reduce([each[name] for each in every if name in each]) for name in tensors}
    return {link.name: _relative(top[str(link.stored.name)]) for link in links}


def _relative(largest: np.ndarray) -> tuple[float, ...]:
    top = float(largest.max())
    if top == 0:
        return (1.0,) * len(largest)
    return tuple(float(each) for each in np.where(largest > 0, np.maximum(largest / top, SMALLEST), 1.0))
