"""Let a Resize say a scale or a length for every axis, not for those alone that it lists.

onnxruntime turns quantized images round for its kernels, and then takes the listed axes for those of the turned image.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_standard

SCALES, SIZES = 2, 3
"""Inputs of Resize."""


class ResizeAllAxesPass(ir.passes.InPlacePass):
    """Where scales are constant, or lengths are taken as they are; a region of interest stays as it is."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = [_restate(node) for node in list(model.graph.all_nodes()) if _lists_axes(node)]
        return ir.passes.PassResult(model, modified=any(changed))


def _lists_axes(node: ir.Node) -> bool:
    if node.op_type != "Resize" or not is_standard(node) or "axes" not in node.attributes:
        return False
    has_region = len(node.inputs) > 1 and node.inputs[1] is not None
    policy = node.attributes.get_string("keep_aspect_ratio_policy", "stretch")
    return not has_region and policy == "stretch"


def _restate(node: ir.Node) -> bool:
    data, graph = node.inputs[0], node.graph
    shape = None if data is None else data.shape
    if data is None or shape is None or not isinstance(graph, ir.Graph):
        return False
    axes = np.array(node.attributes.get_ints("axes")) % len(shape)
    scales, sizes = (_input(node, place) for place in (SCALES, SIZES))
    if sizes is not None:
        lengths = ir.node("Shape", [data], name=fresh_node_name(graph, f"{node.name}_lengths"))
        listed = add_initializer(graph, f"{node.name}_axes", axes.astype(np.int64))
        whole = ir.node(
            "ScatterElements",
            [lengths.outputs[0], listed, sizes],
            name=fresh_node_name(graph, f"{node.name}_sizes"),
        )
        for made in (lengths, whole):
            made.outputs[0].name = fresh_name(graph, str(made.name))
            made.outputs[0].dtype, made.outputs[0].shape = ir.DataType.INT64, ir.Shape([len(shape)])
        graph.insert_before(node, [lengths, whole])
        node.replace_input_with(SIZES, whole.outputs[0])
    elif scales is not None and scales.const_value is not None:
        factors = np.ones(len(shape), np.float32)
        factors[axes] = scales.const_value.numpy()
        node.replace_input_with(SCALES, add_initializer(graph, f"{node.name}_scales", factors))
    else:
        return False
    del node.attributes["axes"]
    return True


def _input(node: ir.Node, place: int) -> ir.Value | None:
    return node.inputs[place] if len(node.inputs) > place else None
