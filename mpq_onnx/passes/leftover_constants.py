"""Constants that folding leaves over are computed by onnxruntime.

onnxscript folds no node of several outputs (exporters cut the weights of attention out of a packed one by Split), and none that
onnx's reference fails at (GatherElements of 32 and more rows).
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_node_name, take_name
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_constant, is_standard
from mpq_onnx.passes.constant_session import constant_session
from mpq_onnx.passes.fold_constants import may_fold


class LeftoverConstantsPass(ir.passes.InPlacePass):
    """See the module; what onnxruntime has no kernel for stays. An output of the model is an Identity of its constant."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in tuple(model.graph.all_nodes()):
            found = _computed(node, model) if _is_left_over(node) else {}
            for output, array in found.items():
                constant = add_initializer(model.graph, f"{output.name}_part", array)
                given_out = output.is_graph_output()
                if given_out:
                    _give_out(model.graph, output, constant)
                ir.convenience.replace_all_uses_with(output, constant)
                modified = True
                if len(node.outputs) == 1 and not given_out:
                    take_name(model.graph, constant, output, f"{output.name}_folded")
        return ir.passes.PassResult(model, modified=modified)


def _is_left_over(node: ir.Node) -> bool:
    kinds = {each.type for each in node.attributes.values()}
    return (
        is_standard(node)
        and bool(node.inputs)
        and all(each is None or is_constant(each) for each in node.inputs)
        and node.op_type != "Identity"
        and any(_is_read(each) for each in node.outputs)
        and not kinds & {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}
        and may_fold(node)
    )


def _is_read(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def _give_out(main: ir.Graph, output: ir.Value, constant: ir.Value) -> None:
    """An Identity of `constant` in the place of an output of the model, or of a branch: a constant may be none of its own."""
    node = output.producer()
    assert node is not None and node.graph is not None
    given = ir.node("Identity", [constant], name=fresh_node_name(main, f"{output.name}_given"))
    result = given.outputs[0]
    result.type, result.shape = constant.type, constant.shape
    take_name(main, result, output, f"{output.name}_computed")
    node.graph.insert_after(node, given)
    for position, each in enumerate(node.graph.outputs):
        if each is output:
            node.graph.outputs[position] = result


def _computed(node: ir.Node, model: ir.Model) -> dict[ir.Value, np.ndarray]:
    """The values of the outputs that someone reads; empty where onnxruntime does not take the node."""
    read = [each for each in node.outputs if _is_read(each)]
    given = list(dict.fromkeys(each for each in node.inputs if each is not None))
    feeds = {str(each.name): each.const_value.numpy() for each in given}  # type: ignore[union-attr]
    found = constant_session(model.graph, [ir.to_proto(node)], given, read).run(feeds)
    if found is None:
        return {}
    return {
        value: array
        for value, array in zip(read, found, strict=True)
        if isinstance(array, np.ndarray) and array.dtype != object
    }
