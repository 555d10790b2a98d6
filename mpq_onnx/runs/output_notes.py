"""What a result's outputs are taken for, and where little is left of them: said beside the figures. No torch here."""

from mpq_onnx.runtime.evaluation import Evaluation
from mpq_onnx.runtime.part_figures import LENGTHS, PartFigures

ONE_HOT = "labels are rows with a single 1 (one-hot): the place of the 1 is taken for the class"
LITTLE = 3.0
"""Decibels: at less the error has half of the signal's power or more."""


def output_notes(evaluation: Evaluation) -> tuple[str, ...]:
    """A line for a guess of what the outputs or the labels mean, one for NaN and infinities, one for every weak part."""
    parts = evaluation.comparison.parts if evaluation.comparison is not None else ()
    guess = () if evaluation.taken_for is None else (evaluation.taken_for,)
    rows = (ONE_HOT,) if evaluation.one_hot_labels else ()
    return (
        *guess,
        *rows,
        *_mixed(evaluation),
        *_not_finite(evaluation),
        *(note for part in parts if (note := _note(part)) is not None),
    )


def _mixed(evaluation: Evaluation) -> tuple[str, ...]:
    if not evaluation.mixed:
        return ()
    return (
        f"{', '.join(evaluation.mixed)}: what the network answers for an example hangs on the others in its batch; figures are"
        " of the batches that were run (evaluate --batch-size for others)",
    )


def _not_finite(evaluation: Evaluation) -> tuple[str, ...]:
    """How many examples have NaN or infinity in an output, of the file and of the baseline."""
    comparison = evaluation.comparison
    found = [evaluation.not_finite, *(() if comparison is None else (comparison.not_finite,))]
    if not any(each.nan or each.infinite for each in found):
        return ()
    baseline = f" (the baseline's: {found[1]})" if comparison is not None else ""
    said = f"the outputs hold {found[0]} of {evaluation.examples} examples{baseline}"
    predicts = evaluation.classes is not None or (comparison is not None and comparison.agreement is not None)
    if not predicts or not any(each.nan for each in found):
        return (said,)
    return (
        f"{said}: an example with NaN has no prediction, and counts as wrong in every share, agreement too",
    )


def _note(part: PartFigures) -> str | None:
    if part.kind == LENGTHS:
        return f"output {part.part} is left out of the comparison: its length hangs on the data, and the two networks differ"
    if part.constant:
        return f"output {part.part} is the same for every example, and the baseline's is not: nothing is left of it"
    if part.sqnr is None or part.sqnr.value >= LITTLE:
        return None
    return (
        f"output {part.part} has an SQNR of {part.sqnr.value:.1f} dB: its error is as large as the signal, or nearly so;"
        " give it more bits (or energy)"
    )
