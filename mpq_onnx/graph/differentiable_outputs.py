"""The tensors that stand for a model's outputs where gradients are needed: the floats behind labels, nothing for constants.

ArgMax, TopK's indices, comparisons, Round and casts to whole numbers let no gradient through. For an output behind such a step
the tensors that went into it are compared instead (the logits of an ArgMax, both sides of a comparison), unless another output
depends on them already. So does post-processing. An output that is constant, or made of such steps on the model's inputs alone,
is left out.
"""

import onnx_ir as ir

from mpq_onnx.graph.operators import is_constant, is_multiplier
from mpq_onnx.graph.post_processing import operands_within, post_processing

STEPS = frozenset(
    {
        "ArgMax", "ArgMin", "Hardmax", "NonMaxSuppression", "NonZero", "OneHot", "Round", "Floor", "Ceil", "Sign", "Equal",
        "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "And", "Or", "Xor", "IsNaN", "IsInf", "Shape", "Size",
    }
)  # fmt: skip
"""Operators that are constant almost everywhere."""
INDICES_BEHIND = frozenset({"TopK", "MaxPool", "Unique"})
"""Operators whose first output only holds values of their input; the others are indices."""


def differentiable_outputs(model: ir.Model) -> tuple[str, ...]:
    """Names of what stands for the outputs, each once; the mirror's where all, or none, of them carry gradients."""
    behind = post_processing(model)
    flow = _Flow(model, behind.values)
    outputs = list(dict.fromkeys(model.graph.outputs))
    chosen = [value for value in outputs if value in flow.smooth]
    covered = _ancestors(chosen)
    for value in outputs:
        if value not in flow.smooth and value in flow.weighted:
            chosen += [each for each in flow.behind(value) if each not in covered and each not in chosen]
    return tuple(str(value.name) for value in chosen) or behind.mirrored_outputs


class _Flow:
    """Which values depend on weights, and which on weights or float inputs by a way that gradients can go."""

    def __init__(self, model: ir.Model, results: set[ir.Value]) -> None:
        """Args: results: of post-processing."""
        self.weighted: set[ir.Value] = set()
        self.smooth: set[ir.Value] = {
            value
            for value in model.graph.inputs
            if value.name not in model.graph.initializers
            and (value.dtype is None or value.dtype.is_floating_point())
        }
        for node in model.graph:
            inputs = list(operands_within(node))
            # From a multiplier on, or a look-up in a constant table, a value depends on weights.
            table = node.op_type == "Gather" and is_constant(node.inputs[0])
            from_weights = any(value in self.weighted for value in inputs)
            starts = is_multiplier(node) or (table and not from_weights)
            passes = starts or any(value in self.smooth for value in inputs)
            for index, output in enumerate(node.outputs):
                if starts or from_weights:
                    self.weighted.add(output)
                if passes and output not in results and not _is_step(node, index):
                    self.smooth.add(output)

    def behind(self, value: ir.Value) -> list[ir.Value]:
        """The nearest values that carry gradients, on every way back from `value`."""
        found: list[ir.Value] = []
        waiting, seen = [value], {value}
        while waiting:
            current = waiting.pop(0)
            if current in self.smooth:
                found.append(current)
                continue
            producer = current.producer()
            for each in operands_within(producer) if producer is not None else ():
                if each in self.weighted and each not in seen:
                    seen.add(each)
                    waiting.append(each)
        return found


def _is_step(node: ir.Node, index: int) -> bool:
    if node.op_type == "Cast":
        return not ir.DataType(node.attributes.get_int("to", int(ir.DataType.FLOAT))).is_floating_point()
    return node.op_type in STEPS or (node.op_type in INDICES_BEHIND and index > 0)


def _ancestors(values: list[ir.Value]) -> set[ir.Value]:
    """All that `values` are computed from, themselves included."""
    found = set(values)
    waiting = list(values)
    while waiting:
        producer = waiting.pop().producer()
        for each in producer.inputs if producer is not None else ():
            if each is not None and each not in found:
                found.add(each)
                waiting.append(each)
    return found
