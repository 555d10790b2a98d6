"""compare: two files of one network, node by node on the same data. No torch here."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from mpq_onnx.datasets import DataSource, data_source, open_dataset
from mpq_onnx.errors import first_names
from mpq_onnx.graph.given_model import ModelSource, model_source
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.result import Result
from mpq_onnx.runtime.comparison import ComparedTensors, NodeNoise, compare_tensors


class NodeNoises(list[NodeNoise], Result):
    """One NodeNoise a tensor, in graph order."""

    DRAWN = "node", "sqnr"

    def __init__(self, noises: Sequence[NodeNoise], notes: tuple[str, ...] = ()) -> None:
        super().__init__(noises)
        self.notes = notes
        """Which nodes could not be compared, and why."""

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a tensor."""
        return [dataclasses.asdict(each) for each in self]


@checked_arguments
def compare(
    exact: ModelSource, changed: ModelSource, data: DataSource, *, device: str = "auto"
) -> NodeNoises:
    """SQNR of every tensor that both files have.

    Args:
        exact: the reference, usually the float file.
        changed: usually a quantized file made from it.
        data: data spec.

    Raises:
        MpqOnnxError: see its subclasses.
    """
    first, second = load_model(exact), load_model(changed)
    dataset = open_dataset(data_source(data), model_inputs(first), first.metadata_props)
    found = compare_tensors(first, second, dataset, device)
    return NodeNoises(found.noises, _left_out(found, str(model_source(changed))))


def _left_out(found: ComparedTensors, changed: str) -> tuple[str, ...]:
    """A line for nodes without a counterpart, and one for those of another shape."""
    lines = []
    if found.missing:
        lines.append(
            f"not compared, since {changed} has no tensors of these names: {first_names(found.missing)}"
        )
    if found.reshaped:
        lines.append(
            f"not compared, since {changed} gives their tensors other shapes: {first_names(found.reshaped)}"
        )
    return tuple(lines)
