"""What a node means to a quantizer: is it an activation that fuses with its producer, whose values does it pass on."""

from collections.abc import Set

import onnx_ir as ir

from mpq_onnx.graph.operators import SHAPE_READERS, is_constant, is_multiplier, is_pass_through, is_standard

FUSED_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu", "PRelu"})
"""Activations by pieces of straight lines."""

ROUNDING = frozenset({"Ceil", "Floor", "Round", "Sign"})
"""They have levels of their own: an operand that is rounded before is rounded to others."""
ACTIVATION_FUNCTIONS = FUSED_ACTIVATIONS | ROUNDING | {
    "Celu", "Cos", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Mish", "Selu", "Sigmoid", "Sin", "Softplus",
    "Softsign", "Swish", "Tanh", "ThresholdedRelu",
}  # fmt: skip
"""What hardware applies in the accumulator, before the output is quantized."""

CHANNEL_NORMALIZATIONS = frozenset({"InstanceNormalization", "GroupNormalization"})
"""They bring every channel to one scale. Ahead of them channels differ by orders of magnitude: one step for all leaves the
small ones no levels, and the normalization makes their errors large."""

FUSING_PRODUCERS = CHANNEL_NORMALIZATIONS | ROUNDING | {
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "BatchNormalization", "Einsum",
}  # fmt: skip


CASTS = frozenset({"Cast", "CastLike"})
"""An input that enters the float graph has its own width."""

COMPRESSING = frozenset({"Sqrt", "Log", "Exp"})
"""Their operands (powers of a spectrum, sums of squares or exponentials, distances) span twice or many times what their
outputs do, which one step cannot hold: what is rounded is the root, the logarithm, the exponential."""
SUMS = frozenset({"Add", "Sum", "ReduceSum", "ReduceMean"})
"""What lies between such operands and their root."""


def is_constant_affine(node: ir.Node) -> bool:
    """A sum or product with a constant, one number for all or one a channel: bias, temperature, learned scale and shift, sign.

    It is part of how the operator before it is rounded: integer hardware has it in that operator's scale and offset.
    """
    if not is_standard(node):
        return False
    if node.op_type == "Neg":
        return True
    if node.op_type == "BatchNormalization":
        return len(node.outputs) == 1 and all(map(is_constant, node.inputs[1:]))
    if node.op_type not in ("Add", "Sub", "Mul", "Div"):
        return False
    constants = [value for value in node.inputs if is_constant(value)]
    if len(constants) != 1 or (node.op_type == "Div" and is_constant(node.inputs[0])):
        return False
    return len([size for size in constants[0].const_value.shape.numpy() if size != 1]) <= 1  # type: ignore[union-attr]


def fused_into(node: ir.Node) -> ir.Node | None:
    """The single consumer that applies this node's output before anything is stored, or None."""
    if len(node.outputs) != 1 or node.outputs[0].is_graph_output():
        return None
    uses = [use for use in node.outputs[0].uses() if use.node.op_type not in SHAPE_READERS]
    if len(uses) != 1:
        return None
    consumer = uses[0].node
    computes = node.op_type in FUSING_PRODUCERS or is_constant_affine(node)
    if computes and consumer.op_type in ACTIVATION_FUNCTIONS and uses[0].idx == 0:
        return consumer
    if is_multiplier(node) and consumer.op_type in CHANNEL_NORMALIZATIONS and uses[0].idx == 0:
        return consumer
    if is_pass_through(node) or node.op_type in CASTS:
        return None
    if is_constant_affine(consumer) or is_compressed(consumer):
        return consumer
    return None


def _is_root(node: ir.Node) -> bool:
    """A power between 0 and 1."""
    if node.op_type != "Pow" or node.inputs[1] is None or node.inputs[1].const_value is None:
        return False
    power = node.inputs[1].const_value.numpy()
    return power.size == 1 and 0 < float(power.reshape(())) < 1


def is_compressed(node: ir.Node) -> bool:
    """True for a root, logarithm or exponential, or a sum that goes into one."""
    if node.op_type in COMPRESSING or _is_root(node):
        return is_standard(node)
    if not (is_constant_affine(node) or (node.op_type in SUMS and is_standard(node))):
        return False
    behind = fused_into(node)
    return behind is not None and is_compressed(behind)


def quantized_source(model: ir.Model, tensor: str, quantized: Set[str]) -> str | None:
    """The tensor of `quantized` whose values `tensor` holds, found backwards through pass-through ops; None if none.

    A constant has none.
    """
    values = {str(value.name): value for value in model.graph.inputs}
    values.update({str(value.name): value for node in model.graph for value in node.outputs})
    value: ir.Value | None = values.get(tensor)
    while value is not None and value.name not in quantized:
        producer = value.producer()
        if producer is None or not is_pass_through(producer):
            return None
        value = producer.inputs[0]
    return None if value is None else str(value.name)
