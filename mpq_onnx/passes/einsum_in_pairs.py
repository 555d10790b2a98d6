"""Einsum as products of two operands: more are multiplied one after the other, one alone is summed and transposed.

onnxruntime computes it in the same way. Each product is then a multiply-accumulate with its own weight, count and noise.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.mac import einsum_labels, is_stored
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_standard
from mpq_onnx.passes.put_in_place import put_in_place

PAIR = 2


@dataclass(frozen=True)
class _Operand:
    """One factor and the labels of its axes."""

    value: ir.Value
    labels: str

    @property
    def is_constant(self) -> bool:
        return is_stored(self.value)


class EinsumInPairsPass(ir.passes.InPlacePass):
    """Rewrite every Einsum of other than two operands whose labels are written out; one with a diagonal ("ii") stays."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        modified = False
        for node in list(model.graph):
            if node.op_type != "Einsum" or not is_standard(node) or len(node.inputs) == PAIR:
                continue
            if "." in node.attributes["equation"].as_string():
                continue
            terms, result = einsum_labels(node)
            if any(len(set(labels)) < len(labels) for labels in (*terms, result)):
                continue
            operands = [
                _Operand(value, labels)
                for value, labels in zip(node.inputs, terms, strict=True)
                if value is not None
            ]
            if len(operands) == 1:
                _rearrange(model.graph, node, operands[0], result)
            else:
                _multiply_in_turn(model.graph, node, operands, result)
            modified = True
        return ir.passes.PassResult(model, modified=modified)


def _rearrange(graph: ir.Graph, node: ir.Node, operand: _Operand, result: str) -> None:
    """ReduceSum over the labels that the result lacks, then Transpose to its order."""
    value, kept = operand.value, "".join(label for label in operand.labels if label in result)
    summed = [axis for axis, label in enumerate(operand.labels) if label not in result]
    added = []
    if summed:
        axes = add_initializer(graph, f"{node.name}_axes", np.array(summed, np.int64))
        added.append(ir.node("ReduceSum", [value, axes], {"keepdims": 0}))
        value = added[-1].outputs[0]
    added.append(ir.node("Transpose", [value], {"perm": [kept.index(label) for label in result]}))
    put_in_place(graph, node, added, added[-1])


def _multiply_in_turn(graph: ir.Graph, node: ir.Node, operands: list[_Operand], result: str) -> None:
    """Data first; then at each turn what sums most labels up, a constant before a signal."""
    left = sorted(operands, key=lambda each: each.is_constant)
    done, added = left.pop(0), []
    while left:
        after = {
            index: _labels_after(done, each, left[:index] + left[index + 1 :], result)
            for index, each in enumerate(left)
        }

        def gain(index: int, after: dict[int, str] = after, done: _Operand = done) -> tuple[int, bool]:
            return len(set(done.labels + left[index].labels)) - len(after[index]), left[index].is_constant

        chosen = max(after, key=gain)
        operand = left.pop(chosen)
        labels = after[chosen] if left else result
        equation = f"{done.labels},{operand.labels}->{labels}"
        added.append(ir.node("Einsum", [done.value, operand.value], {"equation": equation}))
        done = _Operand(added[-1].outputs[0], labels)
    put_in_place(graph, node, added, added[-1])


def _labels_after(first: _Operand, second: _Operand, rest: list[_Operand], result: str) -> str:
    """The labels of the product of two operands that the result or the rest still need."""
    needed = set(result).union(*(each.labels for each in rest))
    return "".join(label for label in dict.fromkeys(first.labels + second.labels) if label in needed)
