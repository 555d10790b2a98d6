"""Multiply-accumulates that no figure has, with how many there are of an example: what every command says of them."""

import dataclasses

import onnx_ir as ir

from mpq_onnx.errors import MpqOnnxError, first_names
from mpq_onnx.graph.model_inputs import fixed_batch, model_inputs
from mpq_onnx.graph.uncounted import UncountedMac, uncounted_macs
from mpq_onnx.passes.inferred_shapes import inferred_shapes
from mpq_onnx.passes.remove_noise import without_noise


def left_out(model: ir.Model) -> tuple[UncountedMac, ...]:
    """Them, with the MACs of one example where the file's shapes tell."""
    found = uncounted_macs(model)
    if not found:
        return ()
    try:
        counted = uncounted_macs(model, inferred_shapes(model))
    except (MpqOnnxError, ValueError, LookupError, RuntimeError):  # shapes that cannot be inferred
        return found
    batch = fixed_batch(model_inputs(model)) or 1
    return tuple(
        dataclasses.replace(each, macs=None if each.macs is None else each.macs // batch) for each in counted
    )


def noise_free_notes(model: ir.Model) -> tuple[str, ...]:
    """A line for what a noisy model, or one that noise is added to, multiplies without noise."""
    found = [str(each) for each in left_out(without_noise(model))]
    return (f"no noise, no energy, in no mean and no sum: {first_names(found)}",) if found else ()
