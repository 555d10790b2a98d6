"""How the values of a layer's weights, inputs and outputs are spread, for simulators whose energy depends on them."""

from dataclasses import dataclass

import numpy as np

from mpq_onnx.graph.mac import is_stored, macs_of_node
from mpq_onnx.handoff_targets.bundle import Bundle
from mpq_onnx.runtime.stored_values import stored_values
from mpq_onnx.runtime.tensors import read_tensors, runner_with_outputs

BINS = 255
"""Odd: zero lies in the middle of a bin."""
EXAMPLES = 64
BATCH_SIZE = 16


@dataclass(frozen=True)
class ValueHistogram:
    """Probabilities over BINS bins of equal width between -limit and +limit."""

    probabilities: list[float]
    limit: float


def layer_histograms(bundle: Bundle) -> dict[str, dict[str, ValueHistogram]]:
    """Weights, Inputs and Outputs of every layer by name, the last two over at most EXAMPLES examples of the data."""
    nodes = {str(node.name): node for node in bundle.model.graph}
    roles: dict[str, dict[str, str]] = {}
    stored: list[str] = []
    for row in bundle.layers:
        mac = next(each for each in macs_of_node(nodes[row.name]) if each.held.name == row.weight)
        x, w = mac.data, mac.held
        roles[row.name] = {
            "Weights": str(w.name),
            "Inputs": str(x.name),
            "Outputs": str(nodes[row.name].outputs[0].name),
        }
        stored += [str(w.name)] if is_stored(w) else []
    constants = {
        str(value.name): value.const_value.numpy()
        for value in bundle.model.graph.initializers.values()
        if value.const_value is not None
    }
    computed = [name for name in dict.fromkeys(stored) if name not in constants]
    weights = constants | stored_values(bundle.model, computed)
    found = {name: _histogram([weights[name]]) for name in dict.fromkeys(stored)}
    streamed = list(
        dict.fromkeys(name for each in roles.values() for name in each.values() if name not in found)
    )
    found |= _of_activations(bundle, streamed)
    return {layer: {role: found[name] for role, name in names.items()} for layer, names in roles.items()}


def _of_activations(bundle: Bundle, names: list[str]) -> dict[str, ValueHistogram]:
    runner = runner_with_outputs(bundle.model, names, "cpu")
    few = bundle.dataset.first(EXAMPLES)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for batch in few.batches(BATCH_SIZE):
        for name, array in zip(names, read_tensors(runner, names, batch.inputs), strict=True):
            parts[name].append(array)
    return {name: _histogram(arrays) for name, arrays in parts.items()}


def _histogram(arrays: list[np.ndarray]) -> ValueHistogram:
    finite = [array[np.isfinite(array)].astype(np.float64) for array in arrays]  # a mask may hold infinities
    limit = max((float(np.abs(array).max(initial=0)) for array in finite), default=0.0) or 1.0
    counts = np.zeros(BINS)
    for array in finite:
        counts += np.histogram(array, bins=BINS, range=(-limit, limit))[0]
    total = max(counts.sum(), 1.0)
    return ValueHistogram([float(f"{count / total:.6g}") for count in counts], limit)
