"""What a digital allocation leaves in float though it multiplies: said beside every result."""

import onnx_ir as ir

from mpq_onnx.errors import ModelError, first_names
from mpq_onnx.graph.placement import Sites
from mpq_onnx.report.left_out import left_out


def float_notes(model: ir.Model, sites: Sites) -> tuple[str, ...]:
    """A line each for weights that get no width, recurrent layers, and multiply-accumulates that are not counted."""
    notes = []
    left = float_weights(sites)
    if left:
        notes.append(f"weights stay in float, and count as 32 bits, at {first_names(left)}")
    multiplied = {site.float_weight for site in sites.products}  # named above
    parameters = [
        f"{each.tensor} ({each.elements:,} at {each.node}, {each.op_type})"
        for each in sites.parameters
        if each.tensor not in multiplied
    ]
    if parameters:
        notes.append(
            f"numbers that stay in float, and count as 32 bits, in no mean: {first_names(parameters)}"
        )
    recurrent = {
        use.node: f"{use.node} ({use.op_type})"
        for site in sites.weights
        for use in site.uses
        if use.is_fed_back
    }
    if recurrent:
        notes.append(
            f"the state from one time to the next stays in float inside {first_names(list(recurrent.values()))}"
        )
    return (*notes, *uncounted_notes(model))


def uncounted_notes(model: ir.Model) -> tuple[str, ...]:
    """A line for multiply-accumulates that are not counted."""
    found = [str(each) for each in left_out(model)]
    return (f"stays in float, in no mean and no BOPs: {first_names(found)}",) if found else ()


def float_weights(sites: Sites) -> list[str]:
    """The nodes whose weights get no width, each with what keeps it in float."""
    return [
        f"{site.node} ({site.op_type}: {site.why_float})"
        for site in sites.products
        if site.float_weight is not None
    ]


def check_quantizable(
    sites: Sites, weight_bits: float | None, activation_bits: float | None, where: str
) -> tuple[str, ...]:
    """A line where weights were to get widths and there is none; activations alone are quantized then.

    Raises:
        ModelError: nothing that was asked for can be quantized.
    """
    if weight_bits is None or has_weights(sites):
        return ()
    left = float_weights(sites)
    if sites.weights and (activation_bits is None or not sites.activations):
        raise ModelError(
            f"{where}: first-last and exclude keep every weight in float: nothing is left to quantize"
        )
    found = "no layer with a constant weight to quantize" + (
        f"; in float stay the weights of {first_names(left)}" if left else ""
    )
    if activation_bits is None or not sites.activations:
        advice = "; give --activation-bits" if sites.activations else ""
        raise ModelError(f"{where}: {found}{advice}")
    return (f"{found}: activations alone are quantized",)


def has_weights(sites: Sites) -> bool:
    """Whether a weight gets a width, chosen or fixed."""
    return any(site.fixed_bits != 0 for site in sites.weights)
