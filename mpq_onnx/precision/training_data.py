"""Calibration data for torch: batches on the device, with labels or the float model's outputs as target."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mpq_onnx.datasets import Batch, Dataset
from mpq_onnx.datasets.content_digest import ContentDigest
from mpq_onnx.datasets.read_ahead import read_ahead
from mpq_onnx.errors import DataError, ModelError
from mpq_onnx.graph.example_layout import (
    ExampleLayout,
    examples_first,
    find_layouts,
    shows_one,
    written_batch,
)
from mpq_onnx.graph.model_inputs import ModelInput, fixed_batch
from mpq_onnx.graph.output_parts import OutputPart, output_parts
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.elements import elements_made, forward_batch
from mpq_onnx.progress import begin
from mpq_onnx.tasks import Answer, OutputForm, answer_of, class_labels, class_matrix

READ_BATCH = 64
CLOSE = 1e-3
"""Relative to an output's largest number: what orders of addition may change."""
SEEN_EXAMPLES = 64
"""That tell what the outputs mean."""


def _content(dataset: Dataset) -> str:
    digest = ContentDigest()
    for batch in dataset.batches(READ_BATCH):
        digest.update(batch)
    return digest.sha256


@contextmanager
def running(examples: int, inputs: Sequence[ModelInput]) -> Iterator[None]:
    """Raise ModelError for what torch raises of a batch of so many, of a model with these inputs."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:  # what torch raises for shapes that do not fit
        fixed = next((each for each in inputs if each.fixed_batch not in (None, examples)), None)
        if fixed is not None:
            raise ModelError(_one_size(fixed)) from error
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"the model's mirror cannot run a batch of {examples}: {reason}") from error


def _one_size(wanted: ModelInput) -> str:
    """That the network behind an input takes one batch size alone, how that is read, and what to do."""
    size = wanted.fixed_batch
    shape = ", ".join("any" if size is None else str(size) for size in wanted.shape or ())
    return (
        f"the network takes {size} example{'' if size == 1 else 's'} at once, and no other number (axis {wanted.example_axis}"
        f" of input {wanted.name} [{shape}] is taken for the batch): mpq-onnx export opens that axis where it can; else export"
        " the network again with an open batch axis, in front of the others where it has none"
    )


@dataclass(frozen=True)
class TrainingBatch:
    """Some examples."""

    inputs: tuple[Tensor, ...]
    """The model's inputs, in order."""
    labels: Tensor | None
    examples: int
    """How many."""
    answers: Callable[[], tuple[Tensor, ...]]
    """Gives float_outputs."""
    answer: Answer
    """What the outputs mean."""
    parts: tuple[OutputPart, ...]
    """Of the outputs: each counts relative to its own power."""
    layouts: tuple[ExampleLayout | None, ...]
    """Of the model's outputs."""
    place: int = 0
    """Among all batches of a pass, whichever rank they are of: what is drawn for a batch depends on nothing else."""

    @property
    def float_outputs(self) -> tuple[Tensor, ...]:
        """What the float model answers, [examples, ...] each; computed when it is first asked for."""
        return self.answers()

    def by_example(self, outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A network's outputs for this batch as [examples, ...] each."""
        return tuple(
            examples_first(output, layout, self.examples)
            for output, layout in zip(outputs, self.layouts, strict=True)
        )


class TrainingData:
    """A data set in drawn order (see datasets.sampling), its hash, and the float model's answers to it.

    An answer is computed once, when it is first asked for: few of a large data set are. The data set's ranks go through the
    examples together: each has its own of all batches.
    """

    def __init__(self, dataset: Dataset, mirror: Mirror, device: torch.device) -> None:
        self.dataset = dataset
        self.ranks = dataset.ranks
        self.device = device
        self.input_names = mirror.inputs
        self.mirror = mirror
        self.known: dict[int, tuple[Tensor, ...]] = {}
        begin(f"read {len(dataset)} examples")
        with torch.no_grad():
            self.layouts = self._layouts(mirror)
        self.sha256 = self.ranks.first(lambda: _content(dataset))
        with running(1, dataset.inputs):
            self.elements = elements_made(mirror, self._read(range(1)))
        self.most_at_once = READ_BATCH
        """So many examples the network takes at once, whatever fits into memory."""
        if self._takes_one_alone():
            begin("the network takes one example at once: they go through it one by one")
            self.most_at_once = 1
        self.forward_batch = forward_batch(self.elements.largest, self.most_at_once)
        """So many examples go through the network at once, where no gradients are taken."""
        self.seen = range(min(SEEN_EXAMPLES, len(dataset)))
        start = time.perf_counter()
        outputs = self._seen_answers(self.seen)
        self.example_seconds = (time.perf_counter() - start) / len(self.seen)
        """What one example takes, read and through the float network once, on this machine."""
        self.parts = output_parts(mirror.outputs, [output.cpu().numpy() for output in outputs])
        form = OutputForm(
            tuple((len(dataset), *output.shape[1:]) for output in outputs),
            tuple(output.is_floating_point() for output in outputs),
            alike=len(self.parts) == len(outputs) or dataset.has_labels,
        )
        self.answer = answer_of(dataset.task, form)
        self.classes = {Answer.CLASSES: outputs[class_matrix(form) or 0].shape[-1], Answer.BINARY: 2}.get(
            self.answer
        )

    def _layouts(self, mirror: Mirror) -> tuple[ExampleLayout | None, ...]:
        """Of the outputs.

        Raises:
            ModelError: which part of an output belongs to which example cannot be told.
        """

        def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            inputs = tuple(torch.from_numpy(feeds[name]).to(self.device) for name in self.input_names)
            examples = max((len(each) for each in inputs if each.dim()), default=1)
            with running(examples, self.dataset.inputs):
                outputs = mirror.module.forward(*inputs)
            return {str(index): output.cpu().numpy() for index, output in enumerate(outputs)}

        fixed = fixed_batch(self.dataset.inputs)
        found, _ = find_layouts(
            run, lambda positions: self.dataset.read(positions).inputs, len(self.dataset), fixed
        )
        count = len(mirror.outputs)
        for index, name in enumerate(mirror.outputs):
            if str(index) not in found:
                raise ModelError(
                    f"output {name} has no single axis that grows with the batch, so that no part of it belongs to one example;"
                    " leave it out of the model's outputs"
                )
        return tuple(found[str(index)] for index in range(count))

    @torch.no_grad()
    def _takes_one_alone(self) -> bool:
        """Whether a batch of one is written into the network, so that two examples at once get other answers, or none; or an
        output shows one example of a batch alone."""
        size = fixed_batch(self.dataset.inputs)
        if len(self.dataset) < 2 or (size != 1 and None not in self.layouts):
            return False
        one, other = (self._by_example(self._read(range(place, place + 1)), 1) for place in range(2))
        if size != 1:
            alone, beside = ([each.cpu().numpy() for each in found] for found in (one, other))
            return shows_one(self.layouts, alone, beside)
        try:
            both = self._by_example(self._read(range(2)), 2)
        except ModelError:
            return True
        return not all(
            len(found) == 2
            and torch.allclose(
                found.double(), torch.cat(each).double(), CLOSE, CLOSE * _largest(found), equal_nan=True
            )
            for found, each in zip(both, zip(one, other, strict=True), strict=True)
        )

    def _read(self, positions: Sequence[int]) -> tuple[Tensor, ...]:
        return self._inputs(self.dataset.read(positions))

    def _by_example(self, inputs: tuple[Tensor, ...], examples: int) -> list[Tensor]:
        """The network's outputs for examples that go through it together, [examples, ...] each."""
        with running(examples, self.dataset.inputs):
            outputs = self.mirror.module.forward(*inputs)
        return [
            examples_first(output, layout, examples)
            for output, layout in zip(outputs, self.layouts, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, positions: Sequence[int] | np.ndarray) -> TrainingBatch:
        """The examples at `positions`."""
        return self.training_batch(positions, self.dataset.read(positions))

    def stream(self, parts: Iterable[tuple[int, Sequence[int] | np.ndarray]]) -> Iterator[TrainingBatch]:
        """A batch for every (place, positions); the next is read while the caller works."""
        for (place, positions), batch in read_ahead(lambda part: (part, self.dataset.read(part[1])), parts):
            yield self.training_batch(positions, batch, place)

    def batches(self, size: int, examples: int | None = None) -> Iterator[TrainingBatch]:
        """This rank's of the batches of all examples (or the first `examples`, a sample of them) in order, `size` at a time."""
        return self.stream(self.ranks.own([*enumerate(self.dataset.first(examples).parts(size))]))

    def training_batch(
        self, positions: Sequence[int] | np.ndarray, batch: Batch, place: int = 0
    ) -> TrainingBatch:
        """`batch`, which was read at `positions`."""
        inputs, labels = self._inputs(batch), self._labels(batch)
        return TrainingBatch(
            inputs,
            None if labels is None else torch.from_numpy(labels).to(self.device),
            batch.examples,
            lambda: self._answers(positions, inputs),
            self.answer,
            self.parts,
            self.layouts,
            place,
        )

    def _seen_answers(self, positions: range) -> tuple[Tensor, ...]:
        """Of examples that are read for that alone."""
        parts = (
            positions[start : start + self.forward_batch]
            for start in range(0, len(positions), self.forward_batch)
        )
        answers = [self._answers(part, self._read(part)) for part in parts]
        return tuple(map(torch.cat, zip(*answers, strict=True)))

    @torch.no_grad()
    def _answers(
        self, positions: Sequence[int] | np.ndarray, inputs: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """The float model's outputs for the examples at `positions`, whose inputs are given."""
        wanted = [int(position) for position in positions]
        if not all(position in self.known for position in wanted):
            found = self._by_example(inputs, len(wanted))
            if any(len(each) != len(wanted) for each in found):
                raise ModelError(written_batch(len(wanted), min(map(len, found))))
            self.known.update(zip(wanted, zip(*found, strict=True), strict=True))
        rows = (self.known[position] for position in wanted)
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))

    def shuffled(self, size: int, seed: int, epoch: int) -> list[np.ndarray]:
        """Positions of the batches of one epoch; the same for the same seed and epoch."""
        order = np.random.default_rng([seed, epoch]).permutation(len(self))
        whole = max(len(self) // size, 1)
        return [order[index * size : (index + 1) * size] for index in range(whole)]

    def _labels(self, batch: Batch) -> np.ndarray | None:
        """Of a model that chooses among classes, the class of every example.

        Raises:
            DataError: labels that are not among its classes.
        """
        if batch.labels is None or self.classes is None:
            return batch.labels
        try:
            return class_labels(batch.labels, self.classes)
        except ValueError as error:
            raise DataError(f"{self.dataset.name}: {error}") from error

    def _inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(batch.inputs[name]).to(self.device) for name in self.input_names)


def _largest(output: Tensor) -> float:
    return float(output.double().abs().max()) if output.numel() else 0.0
