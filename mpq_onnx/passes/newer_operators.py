"""Operators that ONNX brought after the canonical opset, written out in those that it had, as ONNX itself defines them.

Attention, RotaryEmbedding, RMSNormalization, Swish and the like are functions in ONNX's own schemas: what they are made of
depends on their attributes, the inputs that they have and those inputs' types.
"""

import math
from typing import Any

import onnx
import onnx_ir as ir
import onnx_ir.passes.common as common

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.operators import is_standard
from mpq_onnx.passes.infer_shapes import InferShapesPass

STACKED_HEADS = 3
"""Axes of queries whose heads stand next to each other along the last one."""
WRITTEN_OUT = "mpq_onnx.newer"
"""Domain of the functions until they are inlined."""


def write_out_newer_operators(model: ir.Model, opset: int, known: int) -> None:
    """Replace operators of `opset` that opset `known` has not, in all graphs. Types should have been inferred.

    Raises:
        ModelError: an operator that is no function.
    """
    while nodes := [node for node in model.graph.all_nodes() if _is_newer(node, opset, known)]:
        for number, node in enumerate(nodes):
            _say_scale(node)
            function = ir.serde.deserialize_function(_function(node, opset))
            function.domain, function.name = WRITTEN_OUT, f"{node.op_type}_{number}"
            function.opset_imports[""] = opset  # of an older body; what it is made of is the same since
            model.functions[function.identifier()] = function
            node.domain, node.op_type = WRITTEN_OUT, function.name
        model.opset_imports[WRITTEN_OUT] = 1
        common.InlinePass(lambda function: function.domain == WRITTEN_OUT)(model)
        model.opset_imports.pop(WRITTEN_OUT, None)
        common.RemoveUnusedNodesPass()(model)  # what makes outputs that are left out
        InferShapesPass()(model)


def _is_newer(node: ir.Node, opset: int, known: int) -> bool:
    return (
        is_standard(node)
        and not onnx.defs.has(node.op_type, known, "")
        and onnx.defs.has(node.op_type, opset, "")
    )


def _say_scale(node: ir.Node) -> None:
    """Of an Attention that leaves it out: one over the root of the head's size, a constant that folds where that is known."""
    shape = None if node.op_type != "Attention" or node.inputs[0] is None else node.inputs[0].shape
    if shape is None or "scale" in node.attributes or not isinstance(shape[-1], int):
        return
    heads = node.attributes.get_int("q_num_heads", 1) if len(shape) == STACKED_HEADS else 1
    node.attributes.add(ir.AttrFloat32("scale", 1 / math.sqrt(shape[-1] // heads)))


def _function(node: ir.Node, opset: int) -> onnx.FunctionProto:
    schema: Any = onnx.defs.get_schema(node.op_type, opset, "")  # whose type stubs lack functions
    for name, attribute in schema.attributes.items():  # a function's body takes them from the node alone
        if attribute.default_value.name and name not in node.attributes:
            node.attributes.add(ir.serde.deserialize_attribute(attribute.default_value))
    if schema.has_function:
        found = schema.get_function_with_opset_version(max(schema.function_opset_versions))
    elif schema.has_context_dependent_function:
        types = [_type(value) for value in node.inputs]
        found = schema.get_context_dependent_function_with_opset_version(
            max(schema.context_dependent_function_opset_versions),
            ir.to_proto(node).SerializeToString(),
            [each.SerializeToString() for each in types],
        )
    else:
        raise ModelError(
            f"node {node.name} ({node.op_type}): an operator of opset {schema.since_version} that is not read yet"
        )
    function = onnx.FunctionProto.FromString(found) if isinstance(found, bytes) else found
    del function.output[len(node.outputs) :]
    made = {name for each in function.node for name in each.output}
    for name in set(function.output) - made:  # left out in the middle, and read by nobody
        function.node.append(onnx.helper.make_node("Identity", [function.input[0]], [name]))
    for number, each in enumerate(function.node):
        each.name = f"{node.name or node.op_type}.{each.op_type}_{number}"
    return function


def _type(value: ir.Value | None) -> onnx.TypeProto:
    found = onnx.TypeProto()
    if value is not None and value.type is not None:
        found.CopyFrom(ir.to_proto(value).type)
    return found
