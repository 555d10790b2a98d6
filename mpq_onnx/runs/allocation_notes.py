"""What of an allocation of bits is not as it was asked for: a line each."""

import math
from collections.abc import Mapping

from mpq_onnx.arithmetic.quantization import levels_of, stored_bits
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.graph.placement import Sites
from mpq_onnx.runs.bench import Choice, kept_note
from mpq_onnx.runs.keeping import chosen_widths, is_storable
from mpq_onnx.runs.options import AllocateOptions, beyond_choices, leaves_no_choice
from mpq_onnx.runs.target_rules import TargetRules


def target_faults(choice: Choice[Allocation], sites: Sites, rules: TargetRules) -> dict[str, str]:
    """What the target does not take of the candidates, by name."""
    found = {each.name: rules.faults(sites, each.allocation) for each in choice.results}
    return {name: faults for name, faults in found.items() if faults}


def allocation_notes(
    weight_bits: float | None,
    activation_bits: float | None,
    options: AllocateOptions,
    choice: Choice[Allocation],
    faults: Mapping[str, str],
    has_equal_widths: bool,
) -> tuple[str, ...]:
    """What is not as it was asked for; `faults` are what the target does not take of a candidate, by its name."""
    notes = [*beyond_choices(weight_bits, activation_bits, options), *choice.notes]
    notes += [
        f"{name} is compared, not kept: the target does not take {found}" for name, found in faults.items()
    ]
    if choice.uniform.name not in faults and not is_storable(choice.uniform.allocation, options):
        notes.append(
            "uniform at this budget has levels that none of the choices stores: it is compared, not kept"
            f" (distance {choice.uniform.distance:.3g} from the float model's outputs; kept {choice.kept.result.distance:.3g})"
        )
    if not has_equal_widths:
        notes.append(
            "no equal widths keep the limits: uniform has widths that the same error everywhere would ask for"
        )
    if not choice.keeps_uniform:
        return tuple(notes)
    why = kept_note(choice, options.chosen_method, "widths")
    if faults.keys() >= set(choice.others) > set():
        why = None
    if why is not None and (choice.others or not leaves_no_choice(weight_bits, activation_bits, options)):
        notes.append(why)
    for name, widths, choices in chosen_widths(choice.kept.result.allocation, options):
        found = {levels_of(width) for width in widths} - {levels_of(each) for each in choices}
        notes += [
            f"{levels} levels ({math.log2(levels):.3f} bits) are none of --{name}: they are uniform at this budget,"
            f" and take {stored_bits(levels)} bits where whole bits are stored"
            for levels in sorted(found)
        ]
    return tuple(notes)
