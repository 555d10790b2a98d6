"""Relu and Clip, written with Max and Min, or as several limits one after the other."""

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.operators import is_standard
from mpq_onnx.passes.fusing.reading import LIMITS, TooComplexError, bound, limits_together, producer
from mpq_onnx.passes.fusing.root_rule import Build, RootRule


class LimitRule(RootRule):
    """max(x, 0) -> Relu(x), min(max(x, low), high) -> Clip(x, low, high)"""

    def find(self, root: ir.Node) -> Build | None:
        value, low, high = root.outputs[0], -math.inf, math.inf
        node: ir.Node | None = root
        nodes = 0
        while node is not None and _limits_alone(node, is_last=nodes == 0):
            try:
                inner, lowest, highest, slope, _ = bound(node)
            except TooComplexError:
                break
            if inner is None or slope != 1.0 or lowest > highest:
                break
            low, high = limits_together((lowest, highest), (low, high))
            value, node, nodes = inner, producer(inner), nodes + 1
        is_relu = low == 0 and math.isinf(high)
        if nodes == 0 or (
            nodes == 1 and (root.op_type == "Relu" or (root.op_type == "Clip" and not is_relu))
        ):
            return None
        return lambda op: op.Relu(value) if is_relu else _clip(op, value, low, high)


def _limits_alone(node: ir.Node, is_last: bool) -> bool:
    """Limits by one number each, which nobody else reads."""
    if node.op_type not in LIMITS or not is_standard(node):
        return False
    output = node.outputs[0]
    computed = [value for value in node.inputs if value is not None and value.const_value is None]
    ranks = [
        len(value.const_value.shape)
        for value in node.inputs
        if value is not None and value.const_value is not None
    ]
    rank = None if len(computed) != 1 or computed[0].shape is None else len(computed[0].shape)
    keeps_rank = max(ranks, default=0) <= (0 if rank is None else rank)
    return (
        len(computed) == 1
        and keeps_rank
        and (is_last or (len(output.uses()) == 1 and not output.is_graph_output()))
    )


def _clip(op: Any, value: ir.Value, low: float, high: float) -> ir.Value:
    limits = [
        None if math.isinf(each) else op.initializer(ir.tensor(np.float32(each)), name=f"{value.name}_{name}")
        for name, each in (("low", low), ("high", high))
    ]
    return op.Clip(value, *limits)


RULES = LimitRule.rules(["Clip", "Max", "Min", "Relu"])
