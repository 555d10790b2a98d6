"""Golden tensors: inputs of single examples and what the file answers to them, in the layout of ONNX's own test data.

golden/test_data_set_0/input_0.pb, output_0.pb, ... hold TensorProtos in the order of the graph's inputs and outputs, as in
ONNX's backend tests; the outputs are onnxruntime's without graph optimizations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx import numpy_helper

from mpq_onnx.datasets import Dataset
from mpq_onnx.runtime.session import Runner

FOLDER = "golden"


@dataclass(frozen=True)
class Golden:
    """Some examples."""

    inputs: list[dict[str, np.ndarray]]
    """One batch of one example (or of the model's fixed size) an entry."""
    outputs: list[list[np.ndarray]]


def golden_tensors(model: ir.Model, dataset: Dataset, examples: int) -> Golden:
    """Run the first examples one by one."""
    runner = Runner(model, "cpu", optimize=False, where="the file")
    batch = runner.fixed_batch or 1
    count = min(examples, max(len(dataset) // batch, 1))
    inputs = [
        dataset.read([min(index * batch + i, len(dataset) - 1) for i in range(batch)]).inputs
        for index in range(count)
    ]
    return Golden(inputs, [runner.run(feeds) for feeds in inputs])


def write_golden(
    golden: Golden, input_names: Sequence[str], output_names: Sequence[str], folder: Path
) -> None:
    """One test_data_set folder an example."""
    for index, (feeds, outputs) in enumerate(zip(golden.inputs, golden.outputs, strict=True)):
        place = folder / FOLDER / f"test_data_set_{index}"
        place.mkdir(parents=True)
        tensors = {f"input_{i}": (name, feeds[name]) for i, name in enumerate(input_names)}
        tensors |= {f"output_{i}": each for i, each in enumerate(zip(output_names, outputs, strict=True))}
        for file, (name, array) in tensors.items():
            (place / f"{file}.pb").write_bytes(numpy_helper.from_array(array, name).SerializeToString())
