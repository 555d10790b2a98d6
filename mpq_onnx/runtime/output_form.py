"""What a model's outputs mean and which parts they have, found once before an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpq_onnx.datasets import Dataset
from mpq_onnx.graph.example_layout import ExampleLayout, examples_or_whole
from mpq_onnx.graph.output_parts import OutputPart, output_parts
from mpq_onnx.runtime.mixed_examples import mixing_outputs
from mpq_onnx.runtime.session import Runner
from mpq_onnx.tasks import IMAGES, TASKS, VALUES_TASK, Answer, OutputForm, answer_of, class_matrix

EXAMPLES = 64
"""Drawn by a fixed seed: more would not show other scales."""


@dataclass(frozen=True)
class OutputMeaning:
    """How outputs are compared."""

    answer: Answer
    parts: tuple[OutputPart, ...]
    names: tuple[str, ...]
    """Of the outputs."""
    loose: frozenset[int] = frozenset()
    """Outputs, by place, whose length hangs on the data."""
    taken_for: str | None = None
    """A sentence where the answer is a guess that the file's task could correct; says how."""
    mixed: tuple[str, ...] = ()
    """Outputs that answer an example otherwise where others are in its batch."""
    scored: int = 0
    """The place of the output that predictions are read from: class scores, or the first one with a row an example."""


def output_meaning(
    reference: Runner, layouts: Sequence[ExampleLayout | None], dataset: Dataset, batch_size: int
) -> OutputMeaning:
    """Of the reference's outputs (the baseline, or the model itself where there is none) on some examples of `dataset`.

    Args:
        layouts: of the reference's outputs.
        batch_size: examples that are run at once; what onnxruntime takes for more it keeps.
    """
    order = np.random.default_rng(0).permutation(len(dataset))
    positions = np.sort(order[:EXAMPLES])
    batches = [positions[start : start + batch_size] for start in range(0, len(positions), batch_size)]
    answers = [_answers(reference, layouts, dataset, batch) for batch in batches]
    outputs = [_joined(arrays, [*map(len, batches)]) for arrays in zip(*answers, strict=True)]
    loose = frozenset(place for place, layout in enumerate(layouts) if layout is not None and not layout.told)
    whole = [array.reshape(-1) if place in loose else array for place, array in enumerate(outputs)]
    scales = output_parts(reference.outputs, whole)  # an output of no certain length is one part
    counted = [place for place in range(len(outputs)) if place not in loose] or [*range(len(outputs))]
    form = OutputForm(
        tuple(outputs[place].shape for place in counted),
        tuple(outputs[place].dtype.kind == "f" for place in counted),
        alike=len(scales) == len(outputs) or dataset.has_labels,
    )
    answer = answer_of(dataset.task, form)
    matrix = class_matrix(form)
    scored = counted[matrix or 0]
    told = dataset.task in TASKS or dataset.has_labels or matrix is None
    names = tuple(reference.outputs)
    return OutputMeaning(
        answer,
        scales,
        names,
        loose,
        taken_for=None if told else _taken_for(names[scored], outputs[scored].shape[1], answer),
        mixed=mixing_outputs(reference, layouts, dataset, batch_size),
        scored=scored,
    )


def _answers(
    reference: Runner, layouts: Sequence[ExampleLayout | None], dataset: Dataset, positions: np.ndarray
) -> list[np.ndarray]:
    batch = dataset.read(positions)
    return [
        as_examples(examples_or_whole(array, layout, batch.examples), batch.examples)
        for array, layout in zip(reference.run(batch.inputs), layouts, strict=True)
    ]


def _joined(parts: Sequence[np.ndarray], examples: Sequence[int]) -> np.ndarray:
    """Of several batches; the first batch's where an output's length is no matter of examples."""
    by_example = [*map(len, parts)] == [*examples] and len({part.shape[1:] for part in parts}) == 1
    return np.concatenate(parts) if by_example else parts[0]


def _taken_for(name: str, length: int, answer: Answer) -> str:
    taken, task, instead = (
        ("class scores", VALUES_TASK, "plain numbers")
        if answer is Answer.CLASSES
        else ("plain numbers", IMAGES, "class scores")
    )
    return (
        f"outputs taken for {taken}: {name} [examples, {length}], since the file names no task; --task {task}, of"
        f" export or evaluate, takes them for {instead}"
    )


def as_examples(array: np.ndarray, examples: int) -> np.ndarray:
    """`array` as [examples, ...]; one that has no axis of that length in front counts as a single example."""
    return array if array.ndim and len(array) == examples else array[None]
