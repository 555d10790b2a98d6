"""Joined tensors: a Concat of boxes and scores, or slices that are written over, has parts of different units.

One scale for all parts would leave none for the small ones. Each part went through its own quantizer, and side by side they are
what they were: the joined tensor needs no quantizer of its own, unless a multiplier reads it, which takes one scale. The same
holds behind it for what computes each entry from one entry and constants (boxes and scores times a factor a channel), up to
the next node that mixes entries, as long as no multiplier follows.
"""

import onnx_ir as ir

from mpq_onnx.graph.operators import (
    is_join,
    is_pass_through,
    is_standard,
    leads_to_multiplier,
    read_by_multiplier,
)
from mpq_onnx.graph.roles import Role, ValueRoles

ENTRYWISE = frozenset(
    {
        "Abs", "Add", "BatchNormalization", "Ceil", "Celu", "Clip", "Div", "Elu", "Exp", "Floor", "LeakyRelu", "Log", "Max",
        "Min", "Mul", "Neg", "PRelu", "Pow", "Reciprocal", "Relu", "Round", "Selu", "Softplus", "Sqrt", "Sub", "Sum",
        "ThresholdedRelu",
    }
)  # fmt: skip
"""Ops that compute each entry from its own. Sigmoid, Tanh and their like are not among them: they bring all parts into one
range, which one scale serves."""


def keeps_parts(node: ir.Node) -> bool:
    """True for a node that puts values of several tensors side by side, where no multiplier reads them as one."""
    return is_join(node) and not read_by_multiplier(node.outputs[0])


def computes_by_part(node: ir.Node, roles: ValueRoles) -> bool:
    """True for a node that computes with constants on the entries of joined parts, where no multiplier follows."""
    operand = _entries(node, roles)
    return operand is not None and _holds_parts(operand, roles) and not leads_to_multiplier(node.outputs[0])


def _entries(node: ir.Node, roles: ValueRoles) -> ir.Value | None:
    """The one signal that an entrywise node computes with; None for other nodes and for several signals."""
    if node.op_type not in ENTRYWISE or not is_standard(node):
        return None
    signals = [value for value in node.inputs if value is not None and roles.of(value) is Role.SIGNAL]
    return signals[0] if len(signals) == 1 else None


def _holds_parts(value: ir.Value | None, roles: ValueRoles) -> bool:
    """True where `value` has the entries of a join that keeps its parts, passed on or computed with one by one."""
    while value is not None and (node := value.producer()) is not None:
        if is_join(node):
            return keeps_parts(node)
        value = node.inputs[0] if is_pass_through(node) else _entries(node, roles)
    return False
