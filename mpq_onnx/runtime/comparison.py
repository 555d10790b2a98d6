"""Compare two files of one network node by node on the same data: the signal to quantization noise of every tensor."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.errors import ModelError
from mpq_onnx.graph.batch_memory import examples_at_once
from mpq_onnx.graph.quantized_tensors import marked_tensor
from mpq_onnx.graph.quantizers import as_read
from mpq_onnx.progress import watched
from mpq_onnx.runtime.evaluation import BATCH_SIZE
from mpq_onnx.runtime.statistics import SignalToNoise
from mpq_onnx.runtime.tensors import read_tensors, runner_with_outputs
from mpq_onnx.threads import side_by_side

BATCH_MEMORY = 2**28
"""Bytes of all tensors of the batches of all ranks."""
FILES = 2
"""Both have every tensor."""


@dataclass(frozen=True)
class NodeNoise:
    """How much of one tensor survives."""

    node: str
    op_type: str
    tensor: str
    sqnr: float
    """Decibels."""


@dataclass(frozen=True)
class ComparedTensors:
    """What two models have in common, and what of the exact one has no counterpart."""

    noises: list[NodeNoise]
    """One a tensor, in graph order."""
    missing: tuple[str, ...] = ()
    """Nodes of the exact model whose tensors the other has not."""
    reshaped: tuple[str, ...] = ()
    """Nodes whose tensors have another shape in the other."""


def compare_tensors(
    exact: ir.Model, changed: ir.Model, dataset: Dataset, device: str = "auto"
) -> ComparedTensors:
    """SQNR of every floating-point tensor that both models have, in graph order; quantized ones as their readers see them.

    Raises:
        ModelError: the two models share no tensor.
    """
    example = dataset.read(range(1)).inputs
    nodes = _float_tensors(exact, example, device)
    available = {
        str(value.name): str(as_read(value).name) for node in changed.graph for value in node.outputs
    }
    available |= {
        tensor: str(node.outputs[0].name)
        for node in changed.graph
        if (tensor := marked_tensor(node)) is not None
    }
    pairs = {name: available[name] for name in nodes if name in available}
    if not pairs:
        raise ModelError("the two models have no tensor name in common: export both from the same source")
    first = runner_with_outputs(exact, list(pairs), device)
    second = runner_with_outputs(changed, list(pairs.values()), device)
    one = dict(zip(pairs, read_tensors(first, list(pairs), example), strict=True))
    other = dict(zip(pairs, read_tensors(second, list(pairs.values()), example), strict=True))
    missing = [node for name, node in nodes.items() if name not in pairs and node.op_type != "Constant"]
    reshaped = [nodes[name] for name in pairs if np.shape(one[name]) != np.shape(other[name])]
    pairs = {name: pairs[name] for name in pairs if nodes[name] not in reshaped}
    if not pairs:
        raise ModelError("the two models give every tensor other shapes: export both from the same source")
    elements = FILES * sum(one[name].size for name in pairs)
    batch_size = examples_at_once(elements, BATCH_SIZE, BATCH_MEMORY // dataset.ranks.count)
    parts = dataset.parts(batch_size)

    def compared() -> Iterator[list[SignalToNoise | None]]:
        """Of every tensor, in the batches of this rank."""
        count = len(dataset.ranks.own(parts))
        for batch in watched(dataset.own_batches(batch_size), "compare", count):
            wanted = read_tensors(first, list(pairs), batch.inputs)
            found = read_tensors(second, list(pairs.values()), batch.inputs)
            yield side_by_side(_noise_of, list(zip(wanted, found, strict=True)))

    def summed(batches: Iterator[list[SignalToNoise | None]]) -> ComparedTensors:
        totals = {name: SignalToNoise() for name in pairs}
        for noises in batches:
            for name, noise in zip(pairs, noises, strict=True):
                if noise is not None and name in totals:
                    totals[name].add(noise)
                elif totals.pop(name, None) is not None:  # how long it is hangs on the data
                    reshaped.append(nodes[name])
        found = [
            NodeNoise(str(nodes[name].name), nodes[name].op_type, name, total.decibels)
            for name, total in totals.items()
        ]
        return ComparedTensors(found, _names(missing), _names(reshaped))

    return dataset.ranks.at_first(compared(), len(parts), summed)


def _noise_of(compared: tuple[np.ndarray, np.ndarray]) -> SignalToNoise | None:
    """Of one tensor in one batch: its values in the exact model and those in the other; None where their lengths differ."""
    exact, changed = compared
    if exact.shape != changed.shape:
        return None
    noise = SignalToNoise()
    noise.update(exact, changed)
    return noise


def _float_tensors(model: ir.Model, example: dict[str, np.ndarray], device: str) -> dict[str, ir.Node]:
    """The node that makes each tensor of floats, in graph order; where the file states no types, running it tells them."""
    nodes = {str(value.name): node for node in model.graph for value in node.outputs if value.name}
    types = {str(value.name): value.dtype for node in model.graph for value in node.outputs}
    untyped = [name for name in nodes if types[name] is None]
    found: dict[str, np.ndarray] = {}
    if untyped:
        runner = runner_with_outputs(model, untyped, device, optimize=False)
        found = dict(zip(untyped, read_tensors(runner, untyped, example), strict=True))

    def is_float(name: str) -> bool:
        known = types[name]
        if known is not None:
            return known.is_floating_point()
        return isinstance(found[name], np.ndarray) and found[name].dtype.kind == "f"  # sequences are lists

    return {name: node for name, node in nodes.items() if is_float(name)}


def _names(nodes: Sequence[ir.Node]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{node.name} ({node.op_type})" for node in nodes))
