"""Joined tensors: a Concat of boxes and scores, or slices that are written over, has parts of different units.

One scale for all parts would leave none for the small ones. Each part went through its own quantizer, and side by side they are
what they were: the joined tensor needs no quantizer of its own, unless a multiplier reads it, which takes one scale.
"""

import onnx_ir as ir

from mpq_onnx.graph.operators import is_join, read_by_multiplier


def keeps_parts(node: ir.Node) -> bool:
    """True for a node that puts values of several tensors side by side, where no multiplier reads them as one."""
    return is_join(node) and not read_by_multiplier(node.outputs[0])
