"""Look rows of a table up as integers, and dequantize what was looked up.

onnxruntime dequantizes the whole of a stored table at every run where Gather stands behind DequantizeLinear. Instead

    DequantizeLinear(table) -> Gather -> QuantizeLinear [-> Clip] -> DequantizeLinear

becomes Gather [-> Clip] -> DequantizeLinear, of a table that holds the activation's own levels; rows that nobody quantizes
again take their scales and zero points along,

    Gather(integers), Gather(scales), Gather(zero points) -> DequantizeLinear in blocks of a row.

Both compute what stood there, to the last bit. Preconditions: a two-dimensional table of integers in the file, looked up along
axis 0; for blocks, operator set 21, and no reader that stands between quantizers: onnxruntime fuses those into operators on
integers that take one scale, and loads no file where it is none.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.quantization import dequantize, quantize
from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name, take_name
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_standard
from mpq_onnx.graph.quantized_tensors import METADATA_TABLE, quantized_tensor
from mpq_onnx.graph.quantizers import Quantizer, quantizer_of, read_quantizer

BLOCKS_OPSET = 21
"""The first whose DequantizeLinear takes blocks."""
BYTE = 8


class GatherIntegersPass(ir.passes.InPlacePass):
    """See the module."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        takes_blocks = model.graph.opset_imports.get("", 0) >= BLOCKS_OPSET
        changed = False
        for gather in tuple(model.graph):
            table = _table(gather)
            if table is None:
                continue
            behind = _own_quantizer(gather, table)
            if behind is not None:
                _take_levels(model.graph, gather, table, behind)
            elif table.scales == 1 or (takes_blocks and not _is_between_quantizers(gather)):
                _take_rows(model.graph, gather, table)
            else:
                continue
            changed = True
            _remove_unread(model.graph, table)
        return ir.passes.PassResult(model, modified=changed)


def _table(gather: ir.Node) -> Quantizer | None:
    """What `gather` looks rows up in, if it is a table of integers."""
    if gather.op_type != "Gather" or not is_standard(gather) or gather.attributes.get_int("axis", 0) != 0:
        return None
    value, rows = gather.inputs[:2]
    found = None if value is None else quantizer_of(value)
    if found is None or found.quantize is not None or found.stored is None or rows is None:
        return None
    known = found.scale is not None and found.zero_point is not None and not found.block_size
    known = known and found.dtype is not None and found.dtype.bitwidth >= BYTE  # Gather takes no smaller ones
    along_rows = found.scales == 1 or found.axis == 0
    by_row = found.stored.ndim == 2 and rows.const_value is None
    return found if known and along_rows and by_row and not gather.outputs[0].is_graph_output() else None


def _own_quantizer(gather: ir.Node, table: Quantizer) -> Quantizer | None:
    """The quantizer of bytes, with one scale, that alone reads the rows of a table that alone is read by `gather`."""
    uses = tuple(gather.outputs[0].uses())
    found = read_quantizer(uses[0].node) if len(uses) == 1 else None
    if found is None or found.quantize is not uses[0].node or found.dequantize is None:
        return None
    is_plain = found.ends_agree and found.scales == 1 and found.ends is not None and found.dtype is not None
    is_alone = (
        table.result is not None and len(table.result.uses()) == 1 and not table.result.is_graph_output()
    )
    return found if is_plain and is_alone and found.dtype.bitwidth == BYTE else None  # type: ignore[union-attr]


def _is_between_quantizers(gather: ir.Node) -> bool:
    """What is computed of the rows is quantized."""
    behind = [use.node for use in gather.outputs[0].uses() if use.node.op_type != "QuantizeLinear"]
    readers = [use.node for node in behind for output in node.outputs for use in output.uses()]
    return any(node.op_type == "QuantizeLinear" for node in readers)


def _take_levels(graph: ir.Graph, gather: ir.Node, table: Quantizer, behind: Quantizer) -> None:
    """Let `gather` look up the levels that its output's quantizer makes of the table."""
    assert table.integers is not None and behind.quantize is not None and behind.dtype is not None
    assert behind.scale is not None and behind.zero_point is not None
    low, high = behind.type_ends or (0, 0)
    zero = np.float32(behind.zero_point.reshape(()) - low)
    levels = quantize(_real_values(table), behind.scale.reshape(()), zero, high - low + 1) + low
    stored = levels.astype(behind.dtype.numpy())
    integers = behind.quantize.outputs[0]
    name = str(gather.outputs[0].name)
    gather.replace_input_with(0, add_initializer(graph, f"{table.integers.name}_levels", stored))
    gather.name = fresh_node_name(graph, f"{gather.name}_integers")
    rows = gather.outputs[0]
    for user, index in tuple(integers.uses()):
        user.replace_input_with(index, rows)
    rows.name = fresh_name(graph, f"{name}_looked_up")
    rows.type = ir.TensorType(behind.dtype)
    graph.remove(behind.quantize, safe=True)


def _take_rows(graph: ir.Graph, gather: ir.Node, table: Quantizer) -> None:
    """Look integers, scales and zero points up, and dequantize them."""
    assert table.integers is not None and table.dequantize is not None and table.stored is not None
    rows, original = gather.inputs[1], gather.outputs[0]
    constants = table.dequantize.inputs
    name, nodes = str(gather.name), []
    attributes: dict[str, int] = {}

    def look_up(source: ir.Value, what: str) -> ir.Value:
        node = ir.node("Gather", [source, rows], {"axis": 0}, name=fresh_node_name(graph, f"{name}_{what}"))
        node.outputs[0].name = fresh_name(graph, f"{original.name}_{what}")
        nodes.append(node)
        return node.outputs[0]

    operands: list[ir.Value | None] = [look_up(table.integers, "integers"), *constants[1:]]
    if table.scales > 1:
        attributes = {"axis": -1, "block_size": table.stored.shape[1]}
        for index, what in ((1, "scales"), (2, "zero_points"))[: len(constants) - 1]:
            constant = constants[index]
            assert constant is not None and constant.const_value is not None
            column = constant.const_value.numpy().reshape(-1, 1)
            operands[index] = look_up(add_initializer(graph, f"{constant.name}_of_rows", column), what)
    back = ir.node(
        "DequantizeLinear", operands, attributes, name=fresh_node_name(graph, f"{name}_dequantize")
    )
    back.metadata_props[METADATA_TABLE] = quantized_tensor(table.dequantize)
    result = back.outputs[0]
    result.type, result.shape = original.type, original.shape
    graph.insert_after(gather, [*nodes, back])
    for user, index in tuple(original.uses()):
        user.replace_input_with(index, result)
    take_name(graph, result, original, f"{original.name}_replaced")
    graph.remove(gather, safe=True)
    back.name = name


def _real_values(table: Quantizer) -> np.ndarray:
    """float32 [rows, columns], as DequantizeLinear computes them."""
    assert table.stored is not None and table.scale is not None and table.zero_point is not None
    shape = (-1, 1) if table.scales > 1 else (1, 1)
    distances = table.stored.astype(np.int64) - table.zero_point.reshape(shape)
    return dequantize(distances.astype(np.float32), table.scale.reshape(shape), np.float32(0))


def _remove_unread(graph: ir.Graph, table: Quantizer) -> None:
    """Take out the dequantized table, and what it was made of, where nobody reads it any more."""
    if (
        table.dequantize is None
        or table.dequantize.outputs[0].uses()
        or table.dequantize.outputs[0].is_graph_output()
    ):
        return
    constants = [each for each in table.dequantize.inputs if each is not None]
    graph.remove(table.dequantize, safe=True)
    for each in constants:
        if not each.uses() and not each.is_graph_output() and each.name in graph.initializers:
            del graph.initializers[str(each.name)]
