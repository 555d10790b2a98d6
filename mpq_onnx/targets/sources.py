"""Which quantized tensors an operator reads and writes, in a float graph with quantization sites or in a QDQ graph."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.graph.operators import is_pass_through
from mpq_onnx.graph.placement.rounded_behind import makers_of
from mpq_onnx.targets.description import Statement, Target
from mpq_onnx.targets.matching import Demand, Operator, statement


@dataclass(frozen=True)
class QuantizedTensor:
    """An activation that goes through a quantizer."""

    value: str
    """The graph's name of what is read: the tensor itself, or what comes out of its DequantizeLinear."""
    node: str
    """The node that makes it, or the model's input."""
    readers: Collection[str] | None = None
    """The nodes that read it quantized; None for all."""


def activation_demands(
    target: Target, model: ir.Model, operators: Mapping[str, Operator], tensors: Collection[QuantizedTensor]
) -> dict[str, Demand]:
    """What the device wants of the width of every quantized activation, by `value`."""
    found: dict[str, list[tuple[str, Statement]]] = {each.value: [] for each in tensors}
    makers = makers_of(model)
    for tensor in tensors:
        for maker in (*(name for name, _ in makers.get(tensor.node, ())), tensor.node):
            _add(found[tensor.value], maker, statement(target, operators.get(maker), "outputs", "bits"))
    by_value = {each.value: each for each in tensors}
    for node in model.graph:
        said = statement(target, operators.get(str(node.name)), "inputs", "bits")
        for value in node.inputs if said is not None else ():
            read = by_value.get(source_of(value, by_value) or "")
            if read is not None and (read.readers is None or node.name in read.readers):
                _add(found[read.value], str(node.name), said)
    return {value: Demand(tuple(statements)) for value, statements in found.items()}


def _add(found: list[tuple[str, Statement]], node: str, said: Statement | None) -> None:
    if said is not None and (node, said) not in found:
        found.append((node, said))


def source_of(value: ir.Value | None, quantized: Collection[str]) -> str | None:
    """The quantized tensor that `value` is, or a view of; None where it is in float."""
    while value is not None and value.name not in quantized:
        producer = value.producer()
        if producer is None or not is_pass_through(producer) or not producer.inputs:
            return None
        value = producer.inputs[0]
    return None if value is None else str(value.name)
