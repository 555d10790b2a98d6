"""Signal to noise of every noisy node, measured on data: of the node alone, and of all noise that has reached it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.noise.equivalent_bits import noise_equivalent_bits
from mpq_onnx.datasets import Dataset
from mpq_onnx.graph.fresh_names import fresh_name
from mpq_onnx.graph.model_file import clone
from mpq_onnx.graph.operators import is_float
from mpq_onnx.graph.placement.quantizer_ranges import output_quantizer
from mpq_onnx.graph.post_processing import post_processing
from mpq_onnx.passes.remove_noise import RemoveNoisePass, plain_node
from mpq_onnx.passes.reseed_noise import noisy_nodes
from mpq_onnx.progress import watched
from mpq_onnx.runtime.statistics import SignalToNoise
from mpq_onnx.runtime.tensors import runner_with_outputs

BATCH_SIZE = 16
"""All nodes' outputs are held at once, three times over."""


@dataclass(frozen=True)
class NodeSignalToNoise:
    """One noisy node."""

    node: str
    op_type: str
    energy_per_mac: float
    """Mean over the channels."""
    snr: float
    """Decibels of the node's output over its own noise, its inputs as they come (noisy)."""
    cascaded_snr: float
    """Decibels against the noise-free network: all noise up to here."""
    noise_deviation: float
    """Root mean square of its own noise."""
    output_range: float
    range_from: str
    """quantizer: of its output's quantizer; data: largest minus smallest noise-free output, where it has none."""
    noise_equivalent_bits: float


@dataclass(frozen=True)
class Ratios:
    """All noisy nodes in graph order, and the model's outputs together."""

    nodes: tuple[NodeSignalToNoise, ...]
    outputs: float
    """Decibels of the model's outputs against the noise-free network's."""
    output_noises: tuple[float, ...] = ()
    """Sum of the outputs' squared noise, batch by batch."""


class _Node:
    def __init__(self) -> None:
        self.own, self.cascaded = SignalToNoise(), SignalToNoise()
        self.lowest, self.highest, self.count = np.inf, -np.inf, 0

    def update(self, noisy: np.ndarray, twin: np.ndarray, exact: np.ndarray) -> None:
        self.own.update(twin, noisy)
        self.cascaded.update(exact, noisy)
        self.lowest = min(self.lowest, float(exact.min()))
        self.highest = max(self.highest, float(exact.max()))
        self.count += noisy.size


def measure_ratios(
    model: ir.Model,
    dataset: Dataset,
    device: str = "auto",
    outputs: Sequence[str] | None = None,
    batch_size: int = BATCH_SIZE,
) -> Ratios:
    """Run a noisy model and its noise-free form on `dataset`.

    Args:
        outputs: tensors that count as the model's outputs; None takes its own floats of a certain length.
        batch_size: examples at once; weight noise is drawn once for them.
    """
    noise_free = clone(model)
    RemoveNoisePass()(noise_free)
    noisy, twins = _with_twins(model)
    names = [str(node.outputs[0].name) for node in noisy_nodes(model)]
    if outputs is None:
        own = [str(value.name) for value in model.graph.outputs if is_float(value)]
        no_length = post_processing(noise_free).outputs_of_no_length
        outputs = [name for name in own if name not in no_length]
    inputs = {value.name for value in model.graph.inputs}
    outputs = [name for name in outputs if name not in inputs]  # such an output has no noise
    wanted = list(dict.fromkeys([*names, *outputs]))
    first = runner_with_outputs(noisy, [*wanted, *twins], device)
    second = runner_with_outputs(noise_free, wanted, device)
    measured = {name: _Node() for name in names}
    whole = SignalToNoise()
    powers: list[float] = []
    total = -(-len(dataset) // batch_size)
    for batch in watched(dataset.batches(batch_size), "signal to noise", total):
        found = dict(zip(first.outputs, first.run(batch.inputs), strict=True))
        exact = dict(zip(second.outputs, second.run(batch.inputs), strict=True))
        for name, twin in zip(names, twins, strict=True):
            measured[name].update(found[name], found[twin], exact[name])
        for name in outputs:
            whole.update(exact[name], found[name])
        powers.append(whole.noise - sum(powers))
    plain = {str(node.name): node for node in noise_free.graph}
    nodes = tuple(
        _result(node, plain[str(node.name)], measured[name])
        for node, name in zip(noisy_nodes(model), names, strict=True)
    )
    return Ratios(nodes, whole.decibels, tuple(powers))


def _with_twins(model: ir.Model) -> tuple[ir.Model, list[str]]:
    """`model` with a noise-free twin beside every noisy node, and the names of their outputs."""
    opened = clone(model)
    twins = []
    for node in noisy_nodes(opened):
        name = fresh_name(opened.graph, f"{node.outputs[0].name}_noise_free")
        twin = plain_node(node, name)
        opened.graph.insert_after(node, twin)
        twins.append(name)
    return opened, twins


def _result(node: ir.Node, plain: ir.Node, measured: _Node) -> NodeSignalToNoise:
    quantizer = output_quantizer(plain.outputs[0])
    deviation = float(np.sqrt(measured.own.noise / measured.count))
    value_range = measured.highest - measured.lowest if quantizer is None else quantizer.range
    return NodeSignalToNoise(
        node=str(node.name),
        op_type=plain.op_type,
        energy_per_mac=float(np.mean(node.attributes["energy_per_mac"].as_floats())),
        snr=measured.own.decibels,
        cascaded_snr=measured.cascaded.decibels,
        noise_deviation=deviation,
        output_range=value_range,
        range_from="data" if quantizer is None else "quantizer",
        noise_equivalent_bits=noise_equivalent_bits(value_range, deviation),
    )
