"""Shapes of all tensors as far as the file alone tells them, nothing being run."""

import onnx_ir as ir

from mpq_onnx.graph.model_file import clone
from mpq_onnx.passes.infer_shapes_anew import InferShapesAnewPass


def inferred_shapes(model: ir.Model) -> dict[str, tuple[int, ...]]:
    """By tensor name, for one example; every open axis of an input is 1 long.

    What a file states of inner tensors is inferred anew, so that axes which examples share with tokens have the tokens' length.
    Tensors that inference does not reach wholly are left out.
    """
    shaped = clone(model)
    for value in shaped.graph.inputs:
        if value.shape is not None:
            value.shape = ir.Shape([each if isinstance(each, int) else 1 for each in value.shape])
    InferShapesAnewPass()(shaped)
    values = [*shaped.graph.inputs, *(value for node in shaped.graph for value in node.outputs)]
    return {
        str(value.name): tuple(int(each) for each in value.shape)  # type: ignore[arg-type]
        for value in values
        if value.shape is not None and all(isinstance(each, int) for each in value.shape)
    }
