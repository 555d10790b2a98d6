"""Equalization: its factors, whether the network still computes the same with them, and the network that has them."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.equalization import Factors
from mpq_onnx.graph.model_file import clone
from mpq_onnx.graph.placement import Shapes
from mpq_onnx.passes.channel_links import scaled_readers
from mpq_onnx.passes.scale_channels import ScaleChannelsPass
from mpq_onnx.progress import note
from mpq_onnx.registries import EQUALIZATIONS
from mpq_onnx.runtime.tensors import read_tensors, runner_with_outputs

CHECKED = 4
"""Examples."""
SAME = 1e-2
"""Of the largest number: float32 loses far less, another network is farther away."""


def equalize(
    name: str, model: ir.Model, shapes: Shapes, dataset: Dataset, device: str
) -> tuple[Factors, ir.Model]:
    """The factors of the equalization `name`, and the network with them; none, and a NOTE, where that computes other things."""
    factors = EQUALIZATIONS[name](model, shapes, dataset, device)
    if not factors:
        return factors, model
    scaled = equalized(model, factors, shapes)
    changed = _changed(model, scaled, scaled_readers(model, factors, shapes), dataset, device)
    if changed is None:
        return factors, scaled
    note(f"equalization {name}: it would change what {changed} computes, and was left out; please report it")
    return {}, model


def equalized(model: ir.Model, factors: Factors, shapes: Shapes) -> ir.Model:
    """`model`, or where there are factors a scaled copy that computes the same."""
    if not factors:
        return model
    scaled = clone(model)
    ScaleChannelsPass(factors, shapes)(scaled)
    return scaled


def _changed(
    model: ir.Model, scaled: ir.Model, readers: Sequence[ir.Node], dataset: Dataset, device: str
) -> str | None:
    """The first of the nodes that read scaled channels which makes something else of them than before."""
    tensors = [str(node.outputs[0].name) for node in readers]
    feeds = dataset.read([index % len(dataset) for index in range(CHECKED)]).inputs
    before, after = (
        read_tensors(runner_with_outputs(each, tensors, device), tensors, feeds) for each in (model, scaled)
    )
    for node, wanted, found in zip(readers, before, after, strict=True):
        if np.abs(found - wanted).max(initial=0) > SAME * np.abs(wanted).max(initial=0):
            return str(node.name)
    return None
