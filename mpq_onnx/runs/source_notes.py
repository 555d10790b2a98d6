"""What of a source is changed beyond the way it is written, or left as it is; said in the first lines of a command's output."""

from collections.abc import Sequence

import onnx_ir as ir

from mpq_onnx.graph.class_names import class_names
from mpq_onnx.graph.post_processing import post_processing
from mpq_onnx.graph.whole_images import given_axes
from mpq_onnx.graph.zip_map import dropped_zip_maps
from mpq_onnx.passes.compute_in_float32 import KEPT_OUTSIDE, converted_types

SHOWN_NAMES = 5


def source_notes(model: ir.Model) -> tuple[str, ...]:
    """One line each, for a model that is not canonical yet."""
    notes = []
    for dtype in converted_types(model):
        name = dtype.name.lower()
        outer = "keep their type" if dtype in KEPT_OUTSIDE else "become float32, as numpy has no such arrays"
        notes.append(f"{name} is computed in float32 inside; {name} inputs and outputs {outer}")
    names = class_names(model)
    if names:
        notes.append(
            f"labels that are text become numbers of classes: 0 to {len(names) - 1} for {_shortened(names)}"
        )
    notes += [
        f"input {name} takes one image, without an axis of examples: what is read and written here has one, of length 1"
        for name in given_axes(model)
    ]
    return (*notes, *zip_map_notes(model))


def zip_map_notes(model: ir.Model) -> tuple[str, ...]:
    """A line for every output that is no dictionary any more."""
    return tuple(
        f"output {name} is a tensor, no longer a dictionary for every example (ZipMap): a column for every key, in the order of"
        f" the keys: {_shortened(keys.split(', '))}"
        for name, keys in dropped_zip_maps(model).items()
    )


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")


def post_processing_notes(model: ir.Model) -> tuple[str, ...]:
    """A line for what comes behind a canonical model's network."""
    behind = post_processing(model)
    if not behind.nodes:
        return ()
    return (
        f"post-processing stays as it is, in float: {behind}; widths and energies are chosen by what it is made from",
    )
