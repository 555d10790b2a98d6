"""Compare two files of one network node by node on the same data: the signal to quantization noise of every tensor."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.errors import ModelError
from mpq_onnx.graph.batch_memory import examples_at_once
from mpq_onnx.graph.quantized_tensors import marked_tensor
from mpq_onnx.progress import watched
from mpq_onnx.runtime.evaluation import BATCH_SIZE
from mpq_onnx.runtime.statistics import SignalToNoise
from mpq_onnx.runtime.tensors import read_tensors, runner_with_outputs

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


def compare_tensors(
    exact: ir.Model, changed: ir.Model, dataset: Dataset, device: str = "auto"
) -> list[NodeNoise]:
    """SQNR of every floating-point tensor that both models have, in graph order; quantized ones as their readers see them.

    Raises:
        ModelError: the two models share no tensor.
    """
    nodes = {str(value.name): node for node in exact.graph for value in node.outputs if _is_float(value)}
    available = {str(value.name): str(value.name) for node in changed.graph for value in node.outputs}
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
    one = read_tensors(first, list(pairs), dataset.read(range(1)).inputs)
    elements = FILES * sum(array.size for array in one)
    batch_size = examples_at_once(elements, BATCH_SIZE, BATCH_MEMORY // dataset.ranks.count)
    parts = dataset.parts(batch_size)

    def compared() -> Iterator[list[SignalToNoise]]:
        """Of every tensor, in the batches of this rank."""
        count = len(dataset.ranks.own(parts))
        for batch in watched(dataset.own_batches(batch_size), "compare", count):
            wanted = read_tensors(first, list(pairs), batch.inputs)
            found = read_tensors(second, list(pairs.values()), batch.inputs)
            noises = [SignalToNoise() for _ in pairs]
            for name, noise, a, b in zip(pairs, noises, wanted, found, strict=True):
                if a.shape != b.shape:
                    raise ModelError(
                        f"tensor {name} has shape {a.shape} in one model and {b.shape} in the other"
                    )
                noise.update(a, b)
            yield noises

    def summed(batches: Iterator[list[SignalToNoise]]) -> list[NodeNoise]:
        totals = {name: SignalToNoise() for name in pairs}
        for noises in batches:
            for total, noise in zip(totals.values(), noises, strict=True):
                total.add(noise)
        return [
            NodeNoise(str(nodes[name].name), nodes[name].op_type, name, total.decibels)
            for name, total in totals.items()
        ]

    return dataset.ranks.at_first(compared(), len(parts), summed)


def _is_float(value: ir.Value) -> bool:
    return bool(value.name) and value.dtype is not None and value.dtype.is_floating_point()
