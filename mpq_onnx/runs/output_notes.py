"""What a result's outputs are taken for, and where little is left of them: said beside the figures. No torch here."""

from mpq_onnx.runtime.evaluation import Evaluation
from mpq_onnx.runtime.part_figures import PartFigures

LITTLE = 3.0
"""Decibels: at less the error has half of the signal's power or more."""


def output_notes(evaluation: Evaluation) -> tuple[str, ...]:
    """A line for a guess of what the outputs mean, and one for every part of them that says little or nothing."""
    parts = evaluation.comparison.parts if evaluation.comparison is not None else ()
    guess = () if evaluation.taken_for is None else (evaluation.taken_for,)
    return (*guess, *_mixed(evaluation), *(note for part in parts if (note := _note(part)) is not None))


def _mixed(evaluation: Evaluation) -> tuple[str, ...]:
    if not evaluation.mixed:
        return ()
    return (
        f"{', '.join(evaluation.mixed)}: what the network answers for an example hangs on the others in its batch; figures are"
        " of the batches that were run (evaluate --batch-size for others)",
    )


def _note(part: PartFigures) -> str | None:
    if part.constant:
        return f"output {part.part} is the same for every example, and the baseline's is not: nothing is left of it"
    if part.sqnr is None or part.sqnr.value >= LITTLE:
        return None
    return (
        f"output {part.part} has an SQNR of {part.sqnr.value:.1f} dB: its error is as large as the signal, or nearly so;"
        " give it more bits (or energy)"
    )
