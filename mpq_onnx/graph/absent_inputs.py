"""Optional inputs that a node lists last and leaves empty: as good as not listed, and onnxruntime's fusions fall over them.

A LayerNormalization whose bias is "" ends the process in onnxruntime 1.31's fusion with the addition before it.
"""

from collections.abc import Iterable, Iterator

import onnx
import onnx_ir as ir


def drop_absent_inputs(nodes: Iterable[ir.Node]) -> None:
    """Let none of them list an input that it does not have behind its last one."""
    for node in nodes:
        count = len(node.inputs)
        while count and node.inputs[count - 1] is None:
            count -= 1
        if count < len(node.inputs):
            node.resize_inputs(count)


def lists_absent_inputs(proto: onnx.ModelProto) -> bool:
    """Would drop_absent_inputs change it?"""
    parts = (proto.graph.node, *(function.node for function in proto.functions))
    return any(node.input and not node.input[-1] for part in parts for node in _all(part))


def _all(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _all(graph.node)
