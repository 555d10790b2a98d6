"""A number or matrix of zeros that is added or taken away, or of ones that multiplies or divides, does nothing.

A mask that lets everything through is such a one, as Attention written out has it; so is a Where that always chooses the same.
"""

import onnx_ir as ir

from mpq_onnx.graph.operators import is_standard
from mpq_onnx.passes.put_in_place import put_in_place
from mpq_onnx.passes.tied_weights import MATRIX

NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
EITHER_SIDE = frozenset({"Add", "Mul"})


class NeutralOperandsPass(ir.passes.InPlacePass):
    """An Identity instead, where the result has the other operand's shape. Vectors stay: a bias may be corrected."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in tuple(model.graph):
            other = _changed_by_nothing(node)
            if other is not None:
                same = ir.node("Identity", [other])
                put_in_place(model.graph, node, [same], same)
                changed = True
        return ir.passes.PassResult(model, modified=changed)


def _changed_by_nothing(node: ir.Node) -> ir.Value | None:
    """The operand that is the result too."""
    if node.op_type == "Where" and is_standard(node):
        return _always_chosen(node)
    if node.op_type not in NEUTRAL or not is_standard(node) or len(node.inputs) != 2:
        return None
    pairs = [(node.inputs[1], node.inputs[0])]
    if node.op_type in EITHER_SIDE:
        pairs.append((node.inputs[0], node.inputs[1]))
    for neutral, other in pairs:
        if neutral is not None and other is not None and _is_neutral(neutral, other, NEUTRAL[node.op_type]):
            return other
    return None


def _always_chosen(node: ir.Node) -> ir.Value | None:
    """The computed operand of a Where that has its shape."""
    condition, chosen = node.inputs[0], None
    if condition is not None and condition.const_value is not None:
        truth = condition.const_value.numpy()
        chosen = node.inputs[1] if truth.all() else None if truth.any() else node.inputs[2]
    result = node.outputs[0].shape
    if chosen is None or chosen.const_value is not None or chosen.shape is None or result is None:
        return None
    return chosen if tuple(chosen.shape) == tuple(result) else None


def _is_neutral(neutral: ir.Value, other: ir.Value, number: int) -> bool:
    if neutral.const_value is None or other.const_value is not None:
        return False
    own = tuple(neutral.const_value.shape.numpy())
    if not own:
        return bool(neutral.const_value.numpy() == number)
    if other.shape is None:
        return False
    theirs = tuple(other.shape)
    if sum(size > 1 for size in own) < MATRIX or len(own) > len(theirs):
        return False
    fits = all(size in (1, length) for size, length in zip(own[::-1], theirs[::-1], strict=False))
    return fits and bool((neutral.const_value.numpy() == number).all())
