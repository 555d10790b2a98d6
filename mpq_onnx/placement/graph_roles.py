"""What a node means to a quantizer: is it an activation that fuses with its producer, whose values does it pass on."""

from collections.abc import Set

import onnx_ir as ir

from mpq_onnx.graph.mac import weight_input
from mpq_onnx.graph.operators import is_constant, is_pass_through

FUSED_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "PRelu"})
"""Activations by pieces of straight lines."""

ACTIVATION_FUNCTIONS = FUSED_ACTIVATIONS | {
    "Celu", "Elu", "Gelu", "HardSigmoid", "HardSwish", "Mish", "Selu", "Sigmoid", "Softplus", "Softsign", "Swish", "Tanh",
    "ThresholdedRelu",
}  # fmt: skip
"""What hardware applies in the accumulator, before the output is quantized."""

FUSING_PRODUCERS = frozenset(
    {"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "BatchNormalization", "Einsum"}
)


def is_bias_add(node: ir.Node) -> bool:
    """An Add of a constant vector right after a MatMul, or a Mul by a constant: a bias, written as exporters write it."""
    if node.op_type != "Add":
        return False
    constants = [value for value in node.inputs if is_constant(value)]
    producers = [value.producer() for value in node.inputs if value is not None and not is_constant(value)]
    if len(constants) != 1 or len(producers) != 1 or producers[0] is None:
        return False
    vector = len([size for size in constants[0].const_value.shape.numpy() if size != 1]) <= 1  # type: ignore[union-attr]
    return vector and (_scales_by_constant(producers[0]) or _multiplies_weight(producers[0]))


def _scales_by_constant(node: ir.Node) -> bool:
    return node.op_type == "Mul" and any(is_constant(value) for value in node.inputs)


def _multiplies_weight(node: ir.Node) -> bool:
    return node.op_type == "MatMul" and weight_input(node) is not None


def fused_into(node: ir.Node) -> ir.Node | None:
    """The single consumer that applies this node's output before anything is stored, or None."""
    if len(node.outputs) != 1 or node.outputs[0].is_graph_output():
        return None
    uses = tuple(node.outputs[0].uses())
    if len(uses) != 1:
        return None
    consumer = uses[0].node
    if node.op_type in FUSING_PRODUCERS and consumer.op_type in ACTIVATION_FUNCTIONS and uses[0].idx == 0:
        return consumer
    if node.op_type in ("MatMul", "Mul") and is_bias_add(consumer):
        return consumer
    return None


def quantized_source(model: ir.Model, tensor: str, quantized: Set[str]) -> str | None:
    """The tensor of `quantized` whose values `tensor` holds, found backwards through pass-through ops; None if none."""
    values = {str(value.name): value for value in model.graph.inputs}
    values.update({str(value.name): value for node in model.graph for value in node.outputs})
    value: ir.Value | None = values[tensor]
    while value is not None and value.name not in quantized:
        producer = value.producer()
        if producer is None or not is_pass_through(producer):
            return None
        value = producer.inputs[0]
    return None if value is None else str(value.name)
