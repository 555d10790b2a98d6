"""What others are divided by, and what is normalized by a sum of its own: they stay exact, up to the quotient.

A level of zero has no inverse, and where all that is summed is rounded to zero, 0 is divided by 0: probabilities that a mask
leaves, vectors over their lengths.
"""

from collections.abc import Callable, Sequence

import onnx_ir as ir

from mpq_onnx.graph.operators import is_pass_through, is_standard

STEPS = frozenset({"Sqrt", "Abs", "Neg", "Clip", "Max", "Min", "Pow", "Add", "Sub", "Mul", "Div", "Cast"})
"""They make what is divided by out of what was computed, beside constants and inputs."""
COMMUTATIVE = frozenset({"Add", "Mul", "Max", "Min"})
SUMS = frozenset({"ReduceSum", "ReduceMean", "ReduceMax", "ReduceL1", "ReduceL2", "ReduceSumSquare"})
IsGiven = Callable[[ir.Value], bool]
"""Whether a value depends on constants and inputs alone."""


def readers_as_data(nodes: Sequence[ir.Node], is_given: IsGiven) -> dict[ir.Value, tuple[str, ...]]:
    """Of every value that some node divides by, or normalizes, itself or behind steps that lead there: its other readers.

    Args:
        nodes: of one graph, in their order.
    """
    search = _Search(nodes, is_given)
    for node in reversed(nodes):
        for value in node.outputs:
            search.add(value)
    return search.others


class _Search:
    """Goes through values from the last to the first."""

    def __init__(self, nodes: Sequence[ir.Node], is_given: IsGiven) -> None:
        self.is_given = is_given
        self.others: dict[ir.Value, tuple[str, ...]] = {}
        self.normalizing: set[ir.Node] = set()
        """Divisions of a value by a sum of its own."""
        self.normalized: set[ir.Value] = set()
        """What they divide, what lies between that and its sum, and what the steps before make it of."""
        for node in nodes:
            self._find_way(node)

    def add(self, value: ir.Value) -> None:
        uses = tuple(value.uses())
        if value.is_graph_output():
            return
        if any(self._is_step(use.node, use.idx) and use.node.outputs[0] in self.normalized for use in uses):
            self.normalized.add(value)
        others = tuple(str(use.node.name) for use in uses if not self._divides(use.node, use.idx, value))
        if len(others) < len(uses):
            self.others[value] = others

    def _find_way(self, node: ir.Node) -> None:
        """Whether `node` divides a value by what a sum and steps make of it, and what lies between."""
        if node.op_type != "Div" or not is_standard(node):
            return
        value, current = node.inputs
        way: set[ir.Value] = set()
        while current is not None and current is not value:
            way.add(current)
            made_by = current.producer()
            operands = [] if made_by is None else [each for each in made_by.inputs if each is not None]
            computed = {each for each in operands if not self.is_given(each)}
            if made_by is None or len(computed) != 1 or not _may_lead(made_by):
                return
            (current,) = computed
        if current is value and value is not None and way:
            self.normalizing.add(node)
            self.normalized |= {value, *way}

    def _divides(self, node: ir.Node, index: int, value: ir.Value) -> bool:
        """Whether `node` reads operand `index` as a divisor, or to make one of it, or normalizes it."""
        if not is_standard(node):
            return False
        if (node.op_type == "Div" and index == 1) or node.op_type == "Reciprocal" or node in self.normalizing:
            return True
        if self.others.get(node.outputs[0]) != ():
            return False
        is_on_way = value in self.normalized and node.outputs[0] in self.normalized and _may_lead(node)
        return is_on_way or self._is_step(node, index)

    def _is_step(self, node: ir.Node, index: int) -> bool:
        others = [value for place, value in enumerate(node.inputs) if place != index and value is not None]
        computes = node.op_type in STEPS and is_standard(node) and all(map(self.is_given, others))
        return (computes or is_pass_through(node)) and (index == 0 or node.op_type in COMMUTATIVE)


def _may_lead(node: ir.Node) -> bool:
    """To a divisor: a sum, a step, or a square by either."""
    return is_standard(node) and (node.op_type in (*STEPS, *SUMS) or is_pass_through(node))
