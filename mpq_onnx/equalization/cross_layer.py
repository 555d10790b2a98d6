"""Equalization "cross-layer": the weights that make a channel and those that read it get ranges of the same size.

s_c = sqrt(r1_c / r2_c), r1 the largest magnitude of the weights that make channel c, r2 of those that read it, repeated along
the network until nothing moves (arXiv 1906.04721, section 4.1). Needs no data.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.weights import channel_rows
from mpq_onnx.datasets import Dataset
from mpq_onnx.graph.mac import channel_axis
from mpq_onnx.graph.model_file import clone
from mpq_onnx.graph.placement.sites import Shapes
from mpq_onnx.passes.channel_links import Link, constant_weight, find_links
from mpq_onnx.passes.channel_scaling import input_channel_rows, scale_link

ROUNDS = 20
SETTLED = 1e-3
"""Largest change of a factor that counts as none."""


def factors(model: ir.Model, shapes: Shapes, dataset: Dataset, device: str) -> dict[str, tuple[float, ...]]:
    """s_c by producer's output."""
    links = find_links(clone(model), shapes)
    total = {link.name: np.ones(link.channels) for link in links}
    for _ in range(ROUNDS):
        moved = 0.0
        for link in links:
            found = _balance(link)
            scale_link(link, found)
            total[link.name] *= found
            moved = max(moved, float(np.abs(np.log(found)).max()))
        if moved < SETTLED:
            break
    return {name: tuple(float(each) for each in found) for name, found in total.items()}


def _balance(link: Link) -> np.ndarray:
    made = np.abs(channel_rows(constant_weight(link.producer), channel_axis(link.producer))).max(axis=1)
    read = np.max([np.abs(input_channel_rows(node)).max(axis=1) for node in link.consumers], axis=0)
    usable = (made > 0) & (read > 0)
    return np.sqrt(np.divide(made, read, out=np.ones_like(made), where=usable))
