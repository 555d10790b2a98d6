"""Write on nodes and model what an allocation gives them, so that a viewer such as Netron shows it.

A multiply-accumulate says the width of its weights, that of its output and its energy per MAC, the nodes of a quantizer theirs,
and the model its means. Doc strings and metadata alone change: no tensor, no name, nothing that is computed.
"""

import importlib.metadata
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.graph.descriptions import (
    ENERGY_PER_MAC,
    MODEL_BITS,
    MODEL_NOISE,
    OUTPUT_BITS,
    QUANTIZER_BITS,
    WEIGHT_BITS,
    describe,
)
from mpq_onnx.graph.metadata import METADATA_SOURCE_PRODUCER
from mpq_onnx.graph.quantized_tensors import marked_tensor
from mpq_onnx.graph.quantizers import read_quantizer

PRODUCER = "mpq-onnx"


class DescribePrecisionPass(ir.passes.InPlacePass):
    """See the module."""

    def __init__(self, document: Allocation | EnergyAllocation) -> None:
        """Args: document: what the model was written by."""
        super().__init__()
        self.document = document

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if isinstance(self.document, Allocation):
            _describe_widths(model, self.document)
        else:
            _describe_energies(model, self.document)
        _sign(model)
        return ir.passes.PassResult(model, modified=True)


def producer_of(model: ir.Model) -> str:
    """Name and version of what wrote a model; empty where it does not say."""
    return " ".join(filter(None, (model.producer_name, model.producer_version)))


def _sign(model: ir.Model) -> None:
    """Put our name in; who made the model before keeps a place."""
    if model.producer_name != PRODUCER and producer_of(model):
        model.metadata_props[METADATA_SOURCE_PRODUCER] = producer_of(model)
    model.producer_name = PRODUCER
    try:
        model.producer_version = importlib.metadata.version(PRODUCER)
    except importlib.metadata.PackageNotFoundError:  # run from its sources
        model.producer_version = None


def _describe_widths(model: ir.Model, allocation: Allocation) -> None:
    weights: dict[str, list[tuple[str, str]]] = {}
    outputs: dict[str, str] = {}
    tensors: dict[str, str] = {}
    for entry in allocation.nodes:
        if entry.weight is not None and entry.weight_bits is not None:
            text = width_text(entry.weight_bits)
            weights.setdefault(entry.node, []).append((entry.weight, text))
            tensors[entry.weight] = text
        if entry.activation is not None and entry.activation_bits is not None:
            outputs[entry.node] = tensors[entry.activation] = width_text(entry.activation_bits)
    for node in model.graph:
        name = str(node.name)
        if name in weights:
            describe(node, WEIGHT_BITS, _of_several(weights[name]))
        if name in outputs:
            describe(node, OUTPUT_BITS, outputs[name])
        marked = marked_tensor(node)
        if marked in tensors:
            for part in _quantizer_nodes(node):
                describe(part, QUANTIZER_BITS, tensors[marked])
    means = (
        ("weights", allocation.mean_weight_bits),
        ("activations", allocation.mean_activation_bits),
    )
    said = ", ".join(f"{what} {width_text(mean)} in the mean" for what, mean in means if mean is not None)
    if said:
        describe(model, MODEL_BITS, said)


def _of_several(weights: list[tuple[str, str]]) -> str:
    """Of one weight its width alone, of several (a recurrent layer's) each with its name."""
    if len(weights) == 1:
        return weights[0][1]
    return ", ".join(f"{tensor} {text}" for tensor, text in weights)


def _quantizer_nodes(last: ir.Node) -> Iterable[ir.Node]:
    """QuantizeLinear, Clip and DequantizeLinear, of which `last` is the last."""
    found = read_quantizer(last)
    first = None if found is None else found.quantize
    node: ir.Node | None = last
    while node is not None:
        yield node
        if first is None or node is first or node.inputs[0] is None:
            return
        node = node.inputs[0].producer()


def _describe_energies(model: ir.Model, energy: EnergyAllocation) -> None:
    unit = "" if energy.unit == "relative" else f" {energy.unit}"
    by_node = {entry.node: entry.energy_per_mac for entry in energy.nodes}
    for node in model.graph:
        if node.name in by_node:
            describe(node, ENERGY_PER_MAC, _spread_text(by_node[node.name], unit))
    noises = " + ".join(energy.settings.noise)
    describe(model, MODEL_NOISE, f"{noises}, {energy.mean_energy_per_mac:.4g}{unit} a MAC in the mean")


def width_text(bits: float | tuple[float, ...]) -> str:
    """`3 bits`, or `2 to 6 bits by channel, 3.4 in the mean`."""
    return _spread_text(bits, " bits")


def _spread_text(values: float | tuple[float, ...], unit: str) -> str:
    each = np.atleast_1d(np.asarray(values, np.float64))
    if each.min() == each.max():
        return f"{each[0]:.4g}{unit}"
    return f"{each.min():.4g} to {each.max():.4g}{unit} by channel, {each.mean():.4g} in the mean"
