"""Inputs whose features have unlike units: one step for all of them leaves the small ones no levels."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.graph.quantizers import Quantizer, read_quantizer

EXAMPLES = 256
FEATURE_AXES = 2
"""Of a table's rows, [examples, features]."""
FEWEST_LEVELS = 4
"""A feature that spans less than so many steps is hardly there any more."""


def input_notes(model: ir.Model, dataset: Dataset) -> tuple[str, ...]:
    """A line for each input [examples, features] of the quantized `model` some of whose features the quantizer wipes out."""
    tables = [
        value for value in model.graph.inputs if value.shape is None or len(value.shape) == FEATURE_AXES
    ]
    steps = {str(value.name): step for value in tables if (step := _step(value)) is not None}
    if not steps:
        return ()
    read = dataset.read(range(min(EXAMPLES, len(dataset)))).inputs
    notes = []
    for name, step in steps.items():
        values = read.get(name)
        if values is None or values.ndim != FEATURE_AXES:
            continue
        spans = np.ptp(values.astype(np.float64), axis=0) / step
        lost = int(((spans > 0) & (spans < FEWEST_LEVELS)).sum())
        if lost:
            notes.append(
                f"input {name}: {lost} of {len(spans)} features span less than {FEWEST_LEVELS} steps of its quantizer, as the"
                f" others are so much larger: normalize them in the graph or before, or give --override {name}:activations=16"
            )
    return tuple(notes)


def _step(value: ir.Value) -> float | None:
    """Of the static quantizer that the input goes through; None where it goes through none, or through several."""
    found = {use.node for use in value.uses() if use.node.op_type == "QuantizeLinear"}
    quantizer: Quantizer | None = read_quantizer(found.pop()) if len(found) == 1 else None
    if quantizer is None or quantizer.scale is None or quantizer.scale.size != 1:
        return None
    return float(quantizer.scale.reshape(()))
