"""What of a target file has the right form and is probably not meant: said where it is shown or used."""

import onnx

from mpq_onnx.handoff_targets import TARGETS
from mpq_onnx.ops.composites import COMPOSITES
from mpq_onnx.targets.description import Target, listed, same_width


def target_notes(target: Target | None) -> tuple[str, ...]:
    """A line each for operators that ONNX has not, widths of pairs that no rule gives, and forms that no hand-off writes."""
    if target is None:
        return ()
    return (*_unknown_operators(target), *_widths_of_pairs(target), *_unknown_forms(target))


def _unknown_operators(target: Target) -> list[str]:
    known = {schema.name for schema in onnx.defs.get_all_schemas()} | COMPOSITES
    return [
        f"{target.place('rules', place, 'operators')}: ONNX has no operator {name}: a rule for others' operators, or a slip?"
        for place, rule in enumerate(target.rules)
        for name in rule.operators
        if name not in known
    ]


def _widths_of_pairs(target: Target) -> list[str]:
    """Widths that pairs name and no bits do, where bits are said of everything that pairs are about."""
    notes = []
    for side, place in (("weights", 0), ("inputs", 1)):
        given = [width for _, said in target.all_said(side, "bits") for width in said.values]
        for _, said in target.all_said("pairs") if given else ():
            lost = [
                pair for pair in said.values if not any(same_width(pair[place], width) for width in given)
            ]
            if lost:
                notes.append(f"{said}: no rule gives {side} the bits of {listed(tuple(lost))}")
    return notes


def _unknown_forms(target: Target) -> list[str]:
    said = target.hand_offs
    unknown = [] if said is None else [name for name in said.values if name not in TARGETS]
    return [f"{said}: there is no form {name}; choose of {', '.join(TARGETS)}" for name in unknown]
