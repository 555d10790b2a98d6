"""Softmax and LogSoftmax, written in Exp, ReduceSum, Div and Log."""

import onnx_ir as ir

from mpq_onnx.passes.fusing.axes import kept_shape, reduced_axes, same_shape
from mpq_onnx.passes.fusing.reading import READ, VIEWS, ancestors, constant_scalar, is_closed, producer
from mpq_onnx.passes.fusing.root_rule import Build, RootRule

MOST_BEHIND_LOG = 8
"""Values between a log sum exp and the Exp inside it."""


class SoftmaxRule(RootRule):
    """exp(x - max x) / sum exp(x - max x), with or without the max, by Div or Reciprocal -> Softmax(x, axis)"""

    def find(self, root: ir.Node) -> Build | None:
        interior: set[ir.Node] = set()
        for exponential, total in _quotients(root, interior):
            node = producer(exponential)
            if node is None or node.op_type != "Exp":
                continue
            found = _sum_over_axis(total, exponential, interior)
            if found is None:
                continue
            interior.add(node)
            x = without_maximum(node.inputs[0], found, interior)
            if x is not None and is_closed(root, interior):
                return lambda op: op.Softmax(x, axis=_from_the_end(found, x))
        return None


class LogSoftmaxRule(RootRule):
    """z - log sum exp z, z = x or x - max x; x - ReduceLogSumExp(x); log(Softmax(x)) -> LogSoftmax(x, axis)"""

    def find(self, root: ir.Node) -> Build | None:
        if root.op_type == "Log":
            return _log_of_softmax(root)
        shifted, total = root.inputs
        if shifted is None or total is None:
            return None
        return _minus_log_sum(root, shifted, total) or _minus_maximum_and_log_sum(root, shifted, total)


def _from_the_end(axis: int, x: ir.Value) -> int:
    """`axis` as most exporters write it: -1 for the last."""
    assert x.shape is not None
    return axis - len(x.shape)


def _log_of_softmax(root: ir.Node) -> Build | None:
    node = producer(root.inputs[0])
    if node is None or node.op_type != "Softmax" or not is_closed(root, {node}):
        return None
    x, axis = node.inputs[0], node.attributes.get_int("axis", -1)
    return lambda op: op.LogSoftmax(x, axis=axis)


def _minus_log_sum(root: ir.Node, shifted: ir.Value, total: ir.Value) -> Build | None:
    interior: set[ir.Node] = set()
    axis = _log_sum_axis(total, shifted, interior)
    if axis is None:
        return None
    x = without_maximum(shifted, axis, interior)
    if x is None or not is_closed(root, interior):
        return None
    return lambda op: op.LogSoftmax(x, axis=_from_the_end(axis, x))


def _minus_maximum_and_log_sum(root: ir.Node, x: ir.Value, total: ir.Value) -> Build | None:
    """x - (max x + log sum exp(x - max x))"""
    both = producer(total)
    if both is None or both.op_type != "Add":
        return None
    for sums, maximum in (both.inputs, both.inputs[::-1]):
        for shifted in _arguments_of_exp(sums):
            interior = {both}
            axis = None if sums is None else _log_sum_axis(sums, shifted, interior)
            if (
                axis is not None
                and without_maximum(shifted, axis, interior) is x
                and shifted is not x
                and _is_maximum(maximum, x, axis, interior)
                and is_closed(root, interior)
            ):
                return lambda op: op.LogSoftmax(x, axis=_from_the_end(axis, x))
    return None


def _arguments_of_exp(value: ir.Value | None) -> list[ir.Value]:
    """What Exp is applied to on the way to `value`."""
    if value is None:
        return []
    nodes = [producer(each) for each in ancestors(value, MOST_BEHIND_LOG, READ - {"Sub"})]
    arguments = [node.inputs[0] for node in nodes if node is not None and node.op_type == "Exp"]
    return [each for each in arguments if each is not None]


def _quotients(root: ir.Node, interior: set[ir.Node]) -> list[tuple[ir.Value, ir.Value]]:
    """(a, b) of a / b, also where it is written as a * (1 / b)."""
    left, right = root.inputs
    if left is None or right is None:
        return []
    if root.op_type == "Div":
        return [(left, right)]
    pairs = []
    for one, other in ((left, right), (right, left)):
        node = producer(other)
        if node is not None and node.op_type == "Reciprocal" and node.inputs[0] is not None:
            interior.add(node)
            pairs.append((one, node.inputs[0]))
    return pairs


def _unviewed(value: ir.Value | None, interior: set[ir.Node]) -> ir.Value | None:
    """The value behind views and a lower limit that limits nothing."""
    node = producer(value)
    while node is not None and (node.op_type in VIEWS or _limits_nothing(node)):
        interior.add(node)
        value = next((each for each in node.inputs if each is not None and each.const_value is None), None)
        node = producer(value)
    return value


def _limits_nothing(node: ir.Node) -> bool:
    """Max(-inf, x), as JAX writes it."""
    return node.op_type == "Max" and any(constant_scalar(each) == float("-inf") for each in node.inputs)


def _reduction(
    value: ir.Value | None, over: ir.Value, op_type: str, interior: set[ir.Node]
) -> tuple[int, ir.Value] | None:
    """(axis, argument) where `value` is a reduction over one axis, kept or put back as 1, of a tensor shaped as `over`."""
    found = _reduced(_unviewed(value, interior), over, op_type, interior)
    return found if value is not None and found is not None and _is_kept(value, over, found[0]) else None


def _reduced(
    value: ir.Value | None, over: ir.Value, op_type: str, interior: set[ir.Node]
) -> tuple[int, ir.Value] | None:
    """As _reduction, whatever became of the axis."""
    node = producer(value)
    if node is None or node.op_type != op_type or node.inputs[0] is None:
        return None
    axes = reduced_axes(node)
    if axes is None or len(axes) != 1 or not same_shape(node.inputs[0].shape, over.shape):
        return None
    interior.add(node)
    return axes[0], node.inputs[0]


def _is_kept(value: ir.Value, over: ir.Value, axis: int) -> bool:
    """True where `value`, before any Expand, stands beside `over` with 1 in place of `axis`."""
    return same_shape(_before_expand(value), kept_shape(over.shape, (axis,)))


def _before_expand(value: ir.Value) -> ir.Shape | None:
    node = producer(value)
    while node is not None and node.op_type == "Expand" and node.inputs[0] is not None:
        value = node.inputs[0]
        node = producer(value)
    return value.shape


def _sum_over_axis(total: ir.Value, of: ir.Value, interior: set[ir.Node]) -> int | None:
    found = _reduction(total, of, "ReduceSum", interior)
    return found[0] if found is not None and found[1] is of else None


def _log_sum_axis(total: ir.Value, of: ir.Value, interior: set[ir.Node]) -> int | None:
    """The axis where `total` is log sum exp of `of`."""
    found = _reduction(total, of, "ReduceLogSumExp", interior)
    if found is not None:
        return found[0] if found[1] is of else None
    log = producer(_unviewed(total, interior))
    if log is None or log.op_type != "Log":
        return None
    found = _reduced(_unviewed(log.inputs[0], interior), of, "ReduceSum", interior)
    exponential = None if found is None else producer(found[1])
    if (
        found is None
        or exponential is None
        or exponential.op_type != "Exp"
        or exponential.inputs[0] is not of
    ):
        return None
    interior |= {log, exponential}
    return found[0] if _is_kept(total, of, found[0]) else None


def without_maximum(shifted: ir.Value | None, axis: int, interior: set[ir.Node]) -> ir.Value | None:
    """x where `shifted` is x - max x over `axis`, else `shifted` itself."""
    node = producer(shifted)
    if node is None or node.op_type != "Sub" or node.inputs[0] is None:
        return shifted
    inner: set[ir.Node] = set()
    if not _is_maximum(node.inputs[1], node.inputs[0], axis, inner):
        return shifted
    interior |= inner | {node}
    return node.inputs[0]


def _is_maximum(value: ir.Value | None, x: ir.Value, axis: int, interior: set[ir.Node]) -> bool:
    found = _reduction(value, x, "ReduceMax", interior)
    return found is not None and found[0] == axis and found[1] is x


RULES = [*SoftmaxRule.rules(["Div", "Mul"]), *LogSoftmaxRule.rules(["Sub", "Log"])]
