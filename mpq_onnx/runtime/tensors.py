"""Run a model with inner tensors as outputs: their shapes, and their values batch by batch."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.model_file import clone
from mpq_onnx.runtime.session import Runner


def runner_with_outputs(
    model: ir.Model, tensors: Sequence[str], device: str, optimize: bool = True
) -> Runner:
    """A session whose outputs are `tensors`, in that order (model inputs among them are fine)."""
    opened = clone(model)
    values = {str(value.name): value for value in opened.graph.inputs}
    for node in opened.graph:
        values.update({str(value.name): value for value in node.outputs if value.name})
    opened.graph.outputs[:] = []
    inputs = {str(value.name) for value in opened.graph.inputs}
    for name in tensors:
        if name not in inputs:
            opened.graph.outputs.append(values[name])
    return Runner(opened, device, optimize)


def read_tensors(runner: Runner, tensors: Sequence[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The values of `tensors` for one batch; model inputs are passed through."""
    computed = dict(zip(runner.outputs, runner.run(feeds), strict=True))
    return [feeds[name] if name in feeds else computed[name] for name in tensors]


def tensor_shapes(model: ir.Model, dataset: Dataset, device: str) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor for one example, by running one (a batch of the model's fixed size if it has one)."""
    names = [str(value.name) for value in model.graph.inputs]
    for node in model.graph:
        names.extend(str(value.name) for value in node.outputs if value.name)
    runner = runner_with_outputs(model, names, device, optimize=False)
    batch = runner.fixed_batch or 1
    feeds = dataset.read([0] * batch).inputs
    arrays = read_tensors(runner, names, feeds)
    return {name: _one_example(array.shape, batch) for name, array in zip(names, arrays, strict=True)}


def _one_example(shape: tuple[int, ...], batch: int) -> tuple[int, ...]:
    """`shape` with its batch axis cut to one example (axis 0, where it is a multiple of the batch)."""
    if batch == 1 or not shape or shape[0] % batch:
        return shape
    return (shape[0] // batch, *shape[1:])
