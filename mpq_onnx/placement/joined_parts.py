"""Joined tensors: a Concat of boxes and scores, or slices that are written over, has parts of different units.

One scale for all parts would leave none for the small ones. Each part went through its own quantizer, and side by side they are
what they were: the joined tensor needs none, unless something computes with the whole of it. A multiplier reads one scale.
"""

import onnx_ir as ir

from mpq_onnx.graph.operators import (
    BOOKKEEPING,
    COMPARISONS,
    JOINS,
    PARTING,
    SELECTORS,
    SHAPE_READERS,
    is_multiplier,
    is_pass_through,
    is_standard,
)

LOOKING = COMPARISONS | SELECTORS | SHAPE_READERS
"""Ops that make no new values of the tensor's own."""


def is_join(node: ir.Node) -> bool:
    """True for nodes that put values of several tensors side by side."""
    keeps = node.attributes.get_string("reduction", "none") == "none"
    return node.op_type in JOINS and is_standard(node) and keeps


def keeps_parts(node: ir.Node) -> bool:
    """True where no reader computes with the joined tensor as a whole: it goes to outputs, or is taken apart again."""
    return is_join(node) and not _read_whole(node.outputs[0], in_part=False)


def _read_whole(value: ir.Value, in_part: bool) -> bool:
    for node, index in value.uses():
        if is_multiplier(node):
            return True
        if node.op_type in LOOKING or index in BOOKKEEPING.get(node.op_type, ()):
            continue
        if is_join(node):
            if not in_part and _read_whole(node.outputs[0], in_part=False):
                return True
        elif is_pass_through(node):
            parted = in_part or node.op_type in PARTING
            if any(_read_whole(output, parted) for output in node.outputs):
                return True
        elif not in_part:
            return True
    return False
