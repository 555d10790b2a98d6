"""Does a written file compute the same as the file that it is made of? Asked of every form that onnxruntime can run.

The golden inputs go through both, without graph optimizations. Outputs that lie further apart than roundings of floats explain
may be what rounding edges make of them (see runtime.rounding_edges), which is said; whatever is more is a fault, and nothing is
written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.handoff_targets.bundle import MODEL_FILE
from mpq_onnx.handoff_targets.golden import Golden
from mpq_onnx.handoff_targets.target import Target
from mpq_onnx.runtime.agreement import LARGEST_DIFFERENCE, Agreement, compare, joined
from mpq_onnx.runtime.rounding_edges import EDGE, HEADROOM, with_moved_edges
from mpq_onnx.runtime.session import Runner

WRITTEN = "the file to hand off"


@dataclass(frozen=True)
class CheckedOutputs:
    """How near a written file comes."""

    difference: float
    """The largest between its outputs and the golden ones, absolute, of finite floats."""
    notes: tuple[str, ...] = ()


def check_outputs(form: Target, folder: Path, model: ir.Model, golden: Golden) -> CheckedOutputs | None:
    """Compare the file of `form` in `folder` with `model`, which it is made of; None for a form that onnxruntime cannot run.

    Raises:
        ModelError: it computes something else, or a session with onnxruntime's defaults does not load it.
    """
    runner = _runner(form, folder / MODEL_FILE)
    if runner is None:
        return None
    if len(runner.outputs) != len(model.graph.outputs):
        raise ModelError(
            f"{WRITTEN} has {len(runner.outputs)} outputs, not {len(model.graph.outputs)}; please report it"
        )
    names = [str(value.name) for value in model.graph.outputs]
    found = _compared(runner, golden, names)
    apart = {name: each for name, each in found.items() if not _is_rounding(each)}
    difference = joined(found.values()).difference
    if not apart:
        return CheckedOutputs(difference)
    moved = [_compared(_moved(model, steps), golden, names) for steps in (EDGE, -EDGE)]
    explained = {name: joined(each[name] for each in moved) for name in apart}
    return CheckedOutputs(difference, (_note(apart, explained),))


def _runner(form: Target, path: Path) -> Runner | None:
    """What the file computes in onnxruntime: as it is, or written in standard operators; None where it has no way to it."""
    if form.runs_in_onnxruntime:
        Runner(path, "cpu", where=WRITTEN, by_default=True)
        return Runner(path, "cpu", optimize=False, where=WRITTEN)
    if form.in_standard_operators is None:
        return None
    model = load_model(str(path))
    form.in_standard_operators(model)
    return Runner(model, "cpu", optimize=False, where=WRITTEN)


def _moved(model: ir.Model, steps: float) -> Runner:
    return Runner(with_moved_edges(model, steps), "cpu", optimize=False)


def _compared(runner: Runner, golden: Golden, names: list[str]) -> dict[str, Agreement]:
    """By output, over all examples."""
    answers = [runner.run(feeds) for feeds in golden.inputs]
    return {
        name: joined(
            compare(found[index], wanted[index], name)
            for found, wanted in zip(answers, golden.outputs, strict=True)
        )
        for index, name in enumerate(names)
    }


def _is_rounding(found: Agreement) -> bool:
    return found.fault is None and found.difference <= LARGEST_DIFFERENCE * found.largest


def _note(apart: Mapping[str, Agreement], explained: Mapping[str, Agreement]) -> str:
    """That rounding edges alone part the outputs.

    Raises:
        ModelError: they do not.
    """
    for name, found in apart.items():
        edges = explained[name]
        most = 10 ** (HEADROOM / 20) * edges.difference
        if edges.fault is None and (found.fault is not None or found.difference > most):
            said = found.fault or (
                f"output {name} differs by {found.difference:.3g} (outputs up to {found.largest:.3g}, rounding edges explain"
                f" {edges.difference:.3g})"
            )
            raise ModelError(
                f"{WRITTEN} does not compute the same as the file that it is made of: {said}; please report it"
            )
    return (
        f"in this form some values fall to the other side of a rounding edge: {', '.join(apart)} differ by up to"
        f" {joined(apart.values()).difference:.3g}"
    )
