"""Shapes of all tensors as far as the file alone tells them, nothing being run."""

import onnx_ir as ir
from onnx_ir.passes import common

from mpq_onnx.graph.model_file import clone


def inferred_shapes(model: ir.Model) -> dict[str, tuple[int, ...]]:
    """By tensor name, for one example; every open axis is 1 long. Tensors that inference does not reach are left out."""
    shaped = clone(model)
    common.ShapeInferencePass()(shaped)
    values = [*shaped.graph.inputs, *(value for node in shaped.graph for value in node.outputs)]
    return {
        str(value.name): tuple(each if isinstance(each, int) else 1 for each in value.shape)
        for value in values
        if value.shape is not None
    }
