"""What one evaluation counts, batch by batch, over one pass over the data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpq_onnx.datasets import Dataset
from mpq_onnx.errors import DataError
from mpq_onnx.runtime.not_finite import ALL_FINITE, NotFinite
from mpq_onnx.runtime.output_form import OutputMeaning, as_examples
from mpq_onnx.runtime.part_figures import PartFigures, PartTally, worst
from mpq_onnx.runtime.scores import SCORES, Scores
from mpq_onnx.runtime.statistics import Difference, Estimate, PairedCounts

Outputs = list[np.ndarray]
EVERYTHING = ""
"""The group of all examples."""


@dataclass(frozen=True)
class Comparison:
    """A model against a baseline on the same data."""

    metrics: dict[str, Estimate]
    """The baseline's own."""
    top1_difference: Difference | None
    """Of the shares of right predictions; None where outputs stand for no class."""
    agreement: Estimate | None
    """Share of equal predictions, or of equal labels in the worst output of labels; None where there are neither."""
    output_sqnr: float | None
    """Decibels, of the worst part of all outputs; None where no output holds floats."""
    worst_part: str | None
    """Which that is."""
    parts: tuple[PartFigures, ...]
    """Every output, and every part of an output whose parts differ in scale (see output_parts)."""
    not_finite: NotFinite = ALL_FINITE
    """Among the baseline's outputs."""


@dataclass(frozen=True)
class Answers:
    """One batch: what the model, the baseline and the data say."""

    examples: int
    outputs: Outputs
    exact: Outputs | None
    """The baseline's outputs; its predictions are the target where there are no labels."""
    labels: np.ndarray | None
    groups: np.ndarray | None = None


class Tally:
    """Metrics of a model against labels, and against a baseline's outputs."""

    def __init__(self, dataset: Dataset, meaning: OutputMeaning) -> None:
        self.dataset, self.meaning = dataset, meaning
        self.make = SCORES[meaning.answer]
        self.ours: dict[str, Scores] = {}
        self.theirs: dict[str, Scores] = {}
        self.parts: dict[str, list[PartTally]] = {}
        self.pairs = PairedCounts()
        self.compared = False
        self.scored = True
        """False where even the output that predictions are read from has another length than the baseline's."""
        self.one_hot_labels = False
        self.not_finite, self.not_finite_exact = ALL_FINITE, ALL_FINITE

    def update(self, batch: Answers) -> None:
        """Take in one batch.

        Raises:
            DataError: labels or baseline outputs that do not fit.
        """
        output = as_examples(batch.outputs[self.meaning.scored], batch.examples)
        labels = batch.labels if len(output) == batch.examples else None
        self.not_finite += NotFinite.of(batch.outputs, batch.examples)
        exact = None
        if batch.exact is not None:
            self.compared = True
            self.not_finite_exact += NotFinite.of(batch.exact, batch.examples)
            exact = as_examples(batch.exact[self.meaning.scored], batch.examples)
            self._compare_parts(batch, batch.exact)
            if exact.shape != output.shape:
                self.scored = False
                return
        try:
            answers = None if labels is None else self.make.answers(labels, output)
        except ValueError as error:
            raise DataError(f"{self.dataset.name}: {error}") from error
        if labels is not None and answers is not None:
            self.one_hot_labels |= labels.ndim > answers.ndim
        for group, members in _groups(batch.groups, len(output)):
            self._score(group, output[members], _take(answers, members), _take(exact, members))
        ours = self.ours[EVERYTHING].predictions(output)
        theirs = self.ours[EVERYTHING].predictions(exact) if exact is not None else None
        if ours is not None and theirs is not None and len(ours) == len(theirs):
            own = answers.reshape(-1) if answers is not None and answers.size == len(ours) else None
            self.pairs.update(ours, theirs, own)

    def _score(
        self, group: str, output: np.ndarray, labels: np.ndarray | None, exact: np.ndarray | None
    ) -> None:
        for kept in (self.ours, self.theirs):
            kept.setdefault(group, self.make(self.dataset.task))
        ours, theirs = self.ours[group], self.theirs[group]
        if exact is not None:
            theirs.update(exact, labels)
            if labels is None:
                labels = ours.targets(exact)
        ours.update(output, labels)

    def _compare_parts(self, batch: Answers, exact: Outputs) -> None:
        if len(batch.outputs) != len(exact):
            raise DataError(
                f"the model has {len(batch.outputs)} outputs, the baseline {len(exact)}: not the same network"
            )
        both = [
            (as_examples(found, batch.examples), as_examples(wanted, batch.examples))
            for found, wanted in zip(batch.outputs, exact, strict=True)
        ]
        self._check_shapes(both, batch.examples)
        for group, members in _groups(batch.groups, batch.examples):
            tallies = self.parts.setdefault(group, [PartTally(part.name) for part in self.meaning.parts])
            for part, tally in zip(self.meaning.parts, tallies, strict=True):
                ours, theirs = both[part.output]
                if ours.shape == theirs.shape and len(ours) == batch.examples:
                    tally.update(part.of(theirs[members]), part.of(ours[members]))
                elif group == EVERYTHING:
                    tally.update(theirs, ours)

    def _check_shapes(self, both: Sequence[tuple[np.ndarray, np.ndarray]], examples: int) -> None:
        """That the outputs are those of one network, in which lengths that hang on the data may differ.

        Raises:
            DataError: they are not.
        """
        for place, (ours, theirs) in enumerate(both):
            by_example = len(ours) == len(theirs) == examples and place not in self.meaning.loose
            if ours.shape != theirs.shape and (by_example or ours.ndim != theirs.ndim):
                raise DataError(
                    f"output {self.meaning.names[place]} has shape {ours.shape} in the model, {theirs.shape} in the baseline:"
                    " not the same network"
                )

    @property
    def metrics(self) -> dict[str, Estimate]:
        """The model's own; for a part of the data, NAME-PART."""
        found: dict[str, Estimate] = {}
        for group, scores in self.ours.items() if self.scored else ():
            parts = [tally.figures for tally in self.parts.get(group, ())]
            least = {name: each[0] for name in scores.compared if (each := worst(parts, name)) is not None}
            found |= _named({**least, **scores.metrics()}, group)
        return found

    @property
    def comparison(self) -> Comparison | None:
        """None where no baseline was seen."""
        if not self.compared:
            return None
        metrics: dict[str, Estimate] = {}
        for group, scores in self.theirs.items() if self.scored else ():
            metrics |= _named(scores.metrics(), group)
        parts = tuple(tally.figures for tally in self.parts[EVERYTHING])
        return make_comparison(
            metrics, self.pairs.difference, self.pairs.agreement, parts, self.not_finite_exact
        )

    @property
    def classes(self) -> int | None:
        """How many the outputs choose among; None where they do not, or no label was seen."""
        return self.ours[EVERYTHING].chosen_among if EVERYTHING in self.ours else None

    @property
    def labels(self) -> str:
        """Where the target came from: data, baseline, or none."""
        if self.dataset.has_labels:
            return "data"
        return "baseline" if self.compared else "none"


def make_comparison(
    metrics: dict[str, Estimate],
    difference: Difference | None,
    agreement: Estimate | None,
    parts: Sequence[PartFigures],
    not_finite: NotFinite,
) -> Comparison:
    """With the worst of `parts`; `agreement` is that of predictions, where outputs stand for some."""
    least, labels = worst(parts, "sqnr"), worst(parts, "agreement")
    return Comparison(
        metrics=metrics,
        top1_difference=difference,
        agreement=agreement if agreement is not None or labels is None else labels[0],
        output_sqnr=None if least is None else least[0].value,
        worst_part=None if least is None else least[1],
        parts=tuple(parts),
        not_finite=not_finite,
    )


def _groups(groups: np.ndarray | None, count: int) -> list[tuple[str, np.ndarray]]:
    """All examples, under no name, and those of every part under its own."""
    everything = (EVERYTHING, np.arange(count))
    if groups is None or len(groups) != count:
        return [everything]
    return [everything, *((str(name), np.flatnonzero(groups == name)) for name in np.unique(groups))]


def _take(array: np.ndarray | None, members: np.ndarray) -> np.ndarray | None:
    return None if array is None else array[members]


def _named(metrics: dict[str, Estimate], group: str) -> dict[str, Estimate]:
    return {f"{name}-{group}" if group else name: estimate for name, estimate in metrics.items()}
