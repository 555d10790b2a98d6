"""The other way round of GatherIntegersPass: rows are looked up in a table of real values, as other tools expect it.

    Gather(integers) [, Gather(scales), Gather(zero points)] [-> Clip] -> DequantizeLinear

becomes [Clip ->] DequantizeLinear(table) -> Gather. Integers, scales and zero points are those of the file.
"""

import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_constant, is_standard
from mpq_onnx.graph.quantized_tensors import METADATA_QUANTIZES, METADATA_TABLE
from mpq_onnx.passes.fusing.reading import producer


class DequantizeTablesPass(ir.passes.InPlacePass):
    """See the module."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        found = [(node, looked_up) for node in model.graph if (looked_up := _integers(node)) is not None]
        for node, looked_up in found:
            _dequantize_first(model.graph, node, looked_up)
        return ir.passes.PassResult(model, modified=bool(found))


def _integers(node: ir.Node) -> ir.Node | None:
    """The Gather of integers that a DequantizeLinear reads back."""
    if node.op_type != "DequantizeLinear" or not is_standard(node):
        return None
    found = producer(node.inputs[0])
    if found is not None and found.op_type == "Clip":
        found = producer(found.inputs[0])
    return found if found is not None and _looks_up(found) else None


def _looks_up(node: ir.Node) -> bool:
    return (
        node.op_type == "Gather"
        and is_standard(node)
        and is_constant(node.inputs[0])
        and node.attributes.get_int("axis", 0) == 0
    )


def _dequantize_first(graph: ir.Graph, back: ir.Node, integers: ir.Node) -> None:
    stored = integers.inputs[0]
    operands: list[ir.Value | None] = [stored]
    attributes = {}
    clip = producer(back.inputs[0])
    narrowing = []
    if clip is not None and clip.op_type == "Clip":
        name = fresh_node_name(graph, f"{clip.name}_table")
        narrowing = [ir.node("Clip", [stored, *clip.inputs[1:]], name=name)]
        narrowing[0].outputs[0].name = fresh_name(graph, f"{stored.name}_clipped")  # type: ignore[union-attr]
        narrowing[0].outputs[0].type = stored.type  # type: ignore[union-attr]
        operands = [narrowing[0].outputs[0]]
    for value in back.inputs[1:]:
        source = producer(value)
        if source is None or not _looks_up(source):
            operands.append(value)
            continue
        column = source.inputs[0]
        assert column is not None and column.const_value is not None
        vector = column.const_value.numpy().reshape(-1)
        operands.append(add_initializer(graph, f"{column.name}_in_order", vector))
        attributes = {"axis": 0}
    node = ir.node(
        "DequantizeLinear", operands, attributes, name=fresh_node_name(graph, f"{back.name}_table")
    )
    table = node.outputs[0]
    table.name = fresh_name(graph, f"{stored.name}_real")  # type: ignore[union-attr]
    table.type = back.outputs[0].type
    known = back.metadata_props.get(METADATA_TABLE)
    node.metadata_props[METADATA_QUANTIZES] = str(stored.name) if known is None else known  # type: ignore[union-attr]
    gather = ir.node(
        "Gather", [table, integers.inputs[1]], {"axis": 0}, name=fresh_node_name(graph, f"{back.name}_rows")
    )
    result, new = back.outputs[0], gather.outputs[0]
    new.name, new.type, new.shape = fresh_name(graph, f"{result.name}_rows"), result.type, result.shape
    graph.insert_before(back, [*narrowing, node, gather])
    ir.convenience.replace_all_uses_with(result, new)
    for position, output in enumerate(graph.outputs):
        if output is result:
            graph.outputs[position] = new
    name = str(result.name)
    graph.remove(back, safe=True)
    new.name = name
