"""Run a model with inner tensors as outputs: their shapes, their example axes, and their values batch by batch."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.errors import ModelError
from mpq_onnx.graph.example_layout import UNTOLD, ExampleLayout, Layouts, find_layouts, shows_one
from mpq_onnx.graph.model_file import clone
from mpq_onnx.runtime.session import Runner


def runner_with_outputs(
    model: ir.Model, tensors: Sequence[str], device: str, optimize: bool = True
) -> Runner:
    """A session whose outputs are `tensors`, in that order (model inputs among them are fine)."""
    return Runner(with_tensors(model, tensors), device, optimize)


def with_tensors(model: ir.Model, tensors: Sequence[str]) -> ir.Model:
    """A copy of `model` whose outputs are `tensors`, in that order, model inputs left out."""
    opened = clone(model)
    values = {str(value.name): value for value in opened.graph.inputs}
    for node in opened.graph:
        values.update({str(value.name): value for value in node.outputs if value.name})
    opened.graph.outputs[:] = []
    inputs = {str(value.name) for value in opened.graph.inputs}
    for name in tensors:
        if name not in inputs:
            opened.graph.outputs.append(values[name])
    return opened


def read_tensors(runner: Runner, tensors: Sequence[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The values of `tensors` for one batch; model inputs are passed through."""
    computed = dict(zip(runner.outputs, runner.run(feeds), strict=True)) if runner.outputs else {}
    return [feeds[name] if name in feeds else computed[name] for name in tensors]


@dataclass(frozen=True)
class TensorFacts:
    """What running a few examples tells of every tensor of a model."""

    shapes: dict[str, tuple[int, ...]]
    """For one example."""
    layouts: Layouts


def tensor_facts(model: ir.Model, dataset: Dataset, device: str) -> TensorFacts:
    """Shapes and example axes of all tensors, by running two batch sizes (or the model's fixed one); sequences have none."""
    names = [str(value.name) for value in model.graph.inputs]
    for node in model.graph:
        names.extend(str(value.name) for value in node.outputs if value.name)
    runner = runner_with_outputs(model, names, device, optimize=False)

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(names, read_tensors(runner, names, dict(feeds)), strict=True))

    def read(positions: Sequence[int]) -> Mapping[str, np.ndarray]:
        return dataset.read(positions).inputs

    layouts, shapes = find_layouts(run, read, len(dataset), runner.fixed_batch)
    for wanted in dataset.inputs:  # the data says where its examples go, whatever it holds
        layouts[wanted.name] = None if wanted.example_axis is None else ExampleLayout(wanted.example_axis)
    return TensorFacts(shapes, layouts)


def tensor_shapes(model: ir.Model, dataset: Dataset, device: str) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor for one example."""
    return tensor_facts(model, dataset, device).shapes


def output_layouts(runner: Runner, dataset: Dataset) -> list[ExampleLayout | None]:
    """The layout of each output of `runner`.

    Raises:
        ModelError: the first, which predictions are read from, is text of which nothing says what it names.
    """

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = dict(zip(runner.outputs, runner.run(feeds), strict=True))
        first = runner.outputs[0]
        if found[first].dtype.kind == "O":
            raise ModelError(
                f"{runner.where}: output {first} is text, and the file lists no classes that it could name; export the"
                " network with numbers there, or without it"
            )
        return found

    layouts, _ = find_layouts(
        run, lambda positions: dataset.read(positions).inputs, len(dataset), runner.fixed_batch
    )
    return [layouts.get(name, UNTOLD) for name in runner.outputs]


def examples_at_most(
    runner: Runner, layouts: Sequence[ExampleLayout | None], dataset: Dataset, most: int
) -> int:
    """`most`; 1 where an output shows one example of a batch alone."""
    if None not in layouts or len(dataset) < 2 or runner.fixed_batch is not None:
        return most
    one, other = (runner.run(dataset.read([place]).inputs) for place in range(2))
    return 1 if shows_one(layouts, one, other) else most


def untold(
    layouts: Sequence[ExampleLayout | None], names: Sequence[str], no_length: Collection[str]
) -> list[ExampleLayout | None]:
    """`layouts` of the outputs `names`, of which those of `no_length` are not told, whatever they seem to be."""
    return [UNTOLD if name in no_length else layout for name, layout in zip(names, layouts, strict=True)]


def common_layouts(
    one: Sequence[ExampleLayout | None], other: Sequence[ExampleLayout | None]
) -> tuple[list[ExampleLayout | None], list[ExampleLayout | None]]:
    """Those of two models whose outputs are compared: what cannot be told of one output is not told of the other."""
    told = [all(each is None or each.told for each in pair) for pair in zip(one, other, strict=True)]
    first, second = (
        [each if is_told else UNTOLD for each, is_told in zip(side, told, strict=True)]
        for side in (one, other)
    )
    return first, second
