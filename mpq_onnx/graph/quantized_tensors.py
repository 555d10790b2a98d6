"""Which tensor of the float network a DequantizeLinear, or a quantizer with dynamic ranges, gives back: the node says so.

The names cannot tell: a network may have tensors called X, X_dequantized and X_float.
"""

import onnx_ir as ir

from mpq_onnx.graph.metadata import METADATA_ALLOCATION

METADATA_QUANTIZES = "mpq_onnx.quantizes"
"""Of a node: the name of the tensor. All that reads and writes ONNX keeps it, but for what optimizes graphs."""
METADATA_TABLE = "mpq_onnx.table"
"""Of a DequantizeLinear of rows that were looked up: the name of the table in the float network."""
EARLIER_SUFFIX = "_dequantized"
"""What nodes of files without such notes, of the first version, add to the name."""


def mark_quantized(node: ir.Node, tensor: str) -> None:
    """Note that the output of `node` stands for `tensor`."""
    node.metadata_props[METADATA_QUANTIZES] = tensor


def marked_tensor(node: ir.Node) -> str | None:
    """The tensor that the output of `node` stands for; None for nodes that this project did not write."""
    return node.metadata_props.get(METADATA_QUANTIZES)


def quantized_tensor(node: ir.Node) -> str:
    """The tensor that the output of `node` stands for; in files of others, the output itself."""
    return node.metadata_props.get(METADATA_QUANTIZES, str(node.outputs[0].name))


def float_tensor(value: ir.Value) -> str:
    """What `value` is called in the float network, where it is dequantized; else its own name."""
    producer = value.producer()
    return (
        str(value.name)
        if producer is None
        else producer.metadata_props.get(METADATA_QUANTIZES, str(value.name))
    )


def mark_earlier_file(model: ir.Model) -> None:
    """Complete a file that this project wrote before it noted names: there, what is dequantized has a suffix."""
    if METADATA_ALLOCATION not in model.metadata_props:
        return
    nodes = [node for node in model.graph if len(node.outputs) == 1 and node.outputs[0].name]
    if any(marked_tensor(node) is not None for node in nodes):
        return
    for node in nodes:
        name = str(node.outputs[0].name)
        is_bias = node.inputs and node.inputs[0] is not None and node.inputs[0].dtype == ir.DataType.INT32
        if name.endswith(EARLIER_SUFFIX) and not is_bias:
            mark_quantized(node, name.removesuffix(EARLIER_SUFFIX))
