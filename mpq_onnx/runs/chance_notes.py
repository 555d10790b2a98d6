"""Whether the float network knows more than guessing does: where not, nothing that is measured beside it says anything."""

from mpq_onnx.runtime.evaluation import Evaluation
from mpq_onnx.runtime.statistics import Estimate

FIGURES = ("auroc", "top1", "accuracy")
"""Shares that guessing has a known value of; the first that was measured is looked at."""
SHARE = 0.1
"""Of the way from guessing to being right: what is further is no guessing, however few the examples."""


def chance_notes(evaluation: Evaluation) -> tuple[str, ...]:
    """A line where the baseline (the file itself, where there is none) is no better than guessing by the data's own labels."""
    if evaluation.labels != "data" or evaluation.classes is None:
        return ()
    comparison = evaluation.comparison
    metrics = evaluation.metrics if comparison is None else comparison.metrics
    name = next((each for each in FIGURES if each in metrics), None)
    if name is None:
        return ()
    return chance_note(
        "the file" if comparison is None else "the float file", name, metrics[name], evaluation.classes
    )


def chance_note(who: str, name: str, found: Estimate, classes: int) -> tuple[str, ...]:
    """The line for one figure.

    Args:
        who: what was measured.
        name: of FIGURES.
        classes: how many there are to choose among.
    """
    guessed = 1 / 2 if name == "auroc" else 1 / max(classes, 2)
    if found.low > guessed or found.value > guessed + SHARE * (1 - guessed):
        return ()
    return (
        f"{who} has {100 * found.value:.3g} % {name} of {classes} classes, as guessing has: layout, normalisation, label order?"
        " (docs/data.md)",
    )
