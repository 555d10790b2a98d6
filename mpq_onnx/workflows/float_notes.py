"""What a digital allocation leaves in float though it multiplies: said beside every result."""

import onnx_ir as ir

from mpq_onnx.graph.uncounted import uncounted_macs
from mpq_onnx.placement import Sites

MOST_NAMED = 8


def float_notes(model: ir.Model, sites: Sites) -> tuple[str, ...]:
    """A line each for weights that get no width, recurrent layers, and multiply-accumulates that are not counted."""
    notes = []
    left = [f"{site.node} ({site.op_type})" for site in sites.products if site.float_weight is not None]
    if left:
        notes.append(f"weights stay in float, and count as 32 bits, at {_named(left)}")
    recurrent = {
        use.node: f"{use.node} ({use.op_type})"
        for site in sites.weights
        for use in site.uses
        if use.is_fed_back
    }
    if recurrent:
        notes.append(
            f"the state from one time to the next stays in float inside {_named(list(recurrent.values()))}"
        )
    uncounted = [str(each) for each in uncounted_macs(model)]
    if uncounted:
        notes.append(f"stays in float, in no mean and no BOPs: {_named(uncounted)}")
    return tuple(notes)


def _named(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
