"""What canonical form changes of a source beyond the way it is written; said in the first lines of a command's output."""

import onnx_ir as ir

from mpq_onnx.passes.compute_in_float32 import KEPT_OUTSIDE, converted_types


def source_notes(model: ir.Model) -> tuple[str, ...]:
    """One line each, for a model that is not canonical yet."""
    notes = []
    for dtype in converted_types(model):
        name = dtype.name.lower()
        outer = "keep their type" if dtype in KEPT_OUTSIDE else "become float32, as numpy has no such arrays"
        notes.append(f"{name} is computed in float32 inside; {name} inputs and outputs {outer}")
    return tuple(notes)
