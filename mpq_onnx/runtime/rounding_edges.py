"""What rounding edges can do: integers that sit on one fall to either side, in another order of addition.

Through a deep network a few of them move everything behind: files that are equal may have unlike outputs. The yardstick is a
file against itself with every quantizer's input moved by up to EDGE of a step.
"""

import math

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_node_name
from mpq_onnx.graph.model_file import add_initializer, clone
from mpq_onnx.graph.quantizer_chains import ActivationChain, quantizer_chains

EDGE = 2e-3
"""Steps from a rounding edge that the orders of addition may tell apart; 8e-5 were measured (docs/benchmarks.md)."""
HEADROOM = 6.0
"""Decibels that two equal files may differ by beyond what moved edges show."""


def with_moved_edges(model: ir.Model, steps: float) -> ir.Model:
    """A copy of `model` in which what sits near a rounding edge goes to the odd level, or, where `steps` is negative, the even.

    Args:
        steps: how far the inputs of static quantizers of one float32 scale are moved, in steps of theirs.
    """
    moved = clone(model)
    for chain in quantizer_chains(moved).activations:
        if chain.scale.size == 1 and chain.quantize.inputs[1].dtype == ir.DataType.FLOAT:  # type: ignore[union-attr]
            _move(moved.graph, chain, steps)
    return moved


def _move(graph: ir.Graph, chain: ActivationChain, steps: float) -> None:
    """Quantize x + steps * scale * sin(pi * x / scale): half-way between levels the sine is 1 and -1 by turns."""
    scale, node = float(chain.scale.reshape(())), chain.quantize
    value = node.inputs[0]
    name = f"{node.name}_moved"

    def number(what: float) -> ir.Value:
        return add_initializer(graph, name, np.array(what, np.float32))

    def computed(op_type: str, *inputs: ir.Value | None) -> ir.Value:
        added = ir.node(op_type, inputs, name=fresh_node_name(graph, name))
        graph.insert_before(node, added)
        return added.outputs[0]

    turns = computed("Sin", computed("Mul", value, number(math.pi / scale)))
    node.replace_input_with(0, computed("Add", value, computed("Mul", turns, number(steps * scale))))
