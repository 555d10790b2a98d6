"""Fence off a Resize that onnxruntime cannot compute on an image whose channels are last.

    Reshape to the same shape -> Resize -> Reshape to the same shape

Around integer convolutions onnxruntime turns images round for its kernels, and a Resize between them too: listed axes are then
those of another image, and no cubic kernel makes a turned image smaller. Its Transposes go past a Resize, past no Reshape.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_standard
from mpq_onnx.passes.put_behind import put_behind
from mpq_onnx.passes.resize_all_axes import SCALES

OWN_LENGTH = 0
"""In the shape that a Reshape is given: as long as it was."""


class FenceResizesPass(ir.passes.InPlacePass):
    """For the file that is written; nothing of it changes what is computed."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        fenced = [node for node in model.graph if _stays_as_it_is(node)]
        for node in fenced:
            _fence(model.graph, node)
        return ir.passes.PassResult(model, modified=bool(fenced))


def _stays_as_it_is(node: ir.Node) -> bool:
    """Whether the image must not be turned round; one of unknown rank has no fence."""
    if (
        node.op_type != "Resize"
        or not is_standard(node)
        or node.inputs[0] is None
        or node.inputs[0].shape is None
    ):
        return False
    return "axes" in node.attributes or (_is_plain_cubic(node) and not _enlarges(node))


def _is_plain_cubic(node: ir.Node) -> bool:
    return node.attributes.get_string("mode", "nearest") == "cubic" and not node.attributes.get_int(
        "antialias", 0
    )


def _enlarges(node: ir.Node) -> bool:
    scales = node.inputs[SCALES] if len(node.inputs) > SCALES else None
    return (
        scales is not None
        and scales.const_value is not None
        and bool((scales.const_value.numpy() >= 1).all())
    )


def _fence(graph: ir.Graph, node: ir.Node) -> None:
    image = node.inputs[0]
    assert image is not None and image.shape is not None
    made = node.outputs[0].shape
    same = add_initializer(graph, f"{node.name}_same_shape", np.full(len(image.shape), OWN_LENGTH, np.int64))

    def reshape(value: ir.Value) -> ir.Node:
        return ir.node("Reshape", [value, same], name=fresh_node_name(graph, f"{node.name}_fence"))

    before = reshape(image)
    before.outputs[0].name = fresh_name(graph, f"{node.name}_fenced")
    before.outputs[0].type, before.outputs[0].shape = image.type, image.shape
    graph.insert_before(node, before)
    node.replace_input_with(0, before.outputs[0])
    put_behind(graph, node, reshape)
    node.outputs[0].shape = made
