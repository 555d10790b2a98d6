"""Links: a node with constant weights, and those that alone read its channels. What equalization scales between them."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.mac import channel_axis, weight_input
from mpq_onnx.graph.operators import is_constant, is_float32, is_pass_through
from mpq_onnx.graph.placement.graph_roles import FUSED_ACTIVATIONS
from mpq_onnx.graph.placement.sites import Shapes

HOMOGENEOUS = frozenset(
    {
        "Relu",
        "LeakyRelu",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "Identity",
        "Dropout",
    }
)
"""Channelwise ops with f(s x) = s f(x) for s > 0."""
VIEWS = frozenset({"Flatten", "Reshape"})
"""Pass where there is one value a channel."""
PRODUCERS = frozenset({"Conv", "Gemm"})
INTEGER_ACTIVATIONS = FUSED_ACTIVATIONS | PRODUCERS
"""Whose outputs integer kernels make at once."""


@dataclass(frozen=True)
class Link:
    """One tensor whose channels may be scaled."""

    producer: ir.Node
    consumers: tuple[ir.Node, ...]
    stored: ir.Value
    """The tensor after the activation function: what a quantizer sees."""

    @property
    def name(self) -> str:
        return str(self.producer.outputs[0].name)

    @property
    def channels(self) -> int:
        return constant_weight(self.producer).shape[channel_axis(self.producer)]


def find_links(model: ir.Model, shapes: Shapes) -> list[Link]:
    """All links of a canonical float model, in graph order."""
    links = []
    for node in model.graph:
        if node.op_type not in PRODUCERS or weight_input(node) is None or not _is_own(node):
            continue
        consumers = _consumers(node.outputs[0], shapes)
        if consumers:
            links.append(Link(node, tuple(consumers), _stored(node)))
    return links


def scaled_readers(model: ir.Model, scaled: Collection[str], shapes: Shapes) -> list[ir.Node]:
    """The nodes whose weights take the factors of `scaled`, links and depthwise tensors by name."""
    found = [node for link in find_links(model, shapes) if link.name in scaled for node in link.consumers]
    for value in depthwise_tensors(model):
        found += [use.node for use in value.uses() if value.name in scaled]
    return found


def is_depthwise(node: ir.Node) -> bool:
    """True for a Conv with one input channel a group and a constant weight of its own."""
    if node.op_type != "Conv" or not is_constant(node.inputs[1]) or node.attributes.get_int("group", 1) == 1:
        return False
    shared = len(tuple(node.inputs[1].uses())) > 1  # type: ignore[union-attr]
    return constant_weight(node).shape[1] == 1 and not shared


def depthwise_tensors(model: ir.Model) -> list[ir.Value]:
    """The computed tensors that depthwise convolutions alone read, behind other operators than piecewise linear ones.

    Integer kernels have those in the convolution before, where no product may come between.
    """
    return [
        value
        for node in model.graph
        if len(node.outputs) == 1 and not is_pass_through(node) and node.op_type not in INTEGER_ACTIVATIONS
        for value in node.outputs
        if is_float32(value) and not value.is_graph_output() and value.uses()
        if all(is_depthwise(use.node) and use.idx == 0 for use in value.uses())
    ]


def constant_weight(node: ir.Node) -> np.ndarray:
    """The weight of a multiply-accumulate node."""
    index = weight_input(node)
    assert index is not None
    value = node.inputs[index]
    assert value is not None and value.const_value is not None
    return value.const_value.numpy()


def _is_own(node: ir.Node) -> bool:
    """True where nobody else reads the node's weight and bias, and the bias is a constant vector."""
    parameters = [value for value in node.inputs[1:] if value is not None]
    return weight_input(node) == 1 and all(
        value.const_value is not None and len(tuple(value.uses())) == 1 for value in parameters
    )


def _consumers(value: ir.Value, shapes: Shapes) -> list[ir.Node] | None:
    """The nodes with weights that read `value`'s channels; None where anything else does."""
    if value.is_graph_output() or not value.uses():
        return None
    found: list[ir.Node] = []
    for use in value.uses():
        node = use.node
        if weight_input(node) == 1 and use.idx == 0 and _is_readable(node, shapes):
            if len(tuple(node.inputs[1].uses())) > 1 or node.attributes.get_int("transA", 0) == 1:  # type: ignore[union-attr]
                return None
            found.append(node)
            continue
        if node.op_type not in HOMOGENEOUS and not _keeps_channels(node, shapes):
            return None
        behind = _consumers(node.outputs[0], shapes)
        if behind is None:
            return None
        found += behind
    return found


def _is_readable(node: ir.Node, shapes: Shapes) -> bool:
    """A Conv, or a product with one matrix along the channels: the second axis is the last one."""
    if node.op_type == "Conv":
        return True
    rows = len(shapes.get(str(node.inputs[0].name), ()))  # type: ignore[union-attr]
    return node.op_type in ("Gemm", "MatMul") and constant_weight(node).ndim == 2 == rows


def _keeps_channels(node: ir.Node, shapes: Shapes) -> bool:
    """A reshape of [n, c, 1, 1] to [n, c]."""
    before, after = (shapes.get(str(value.name), ()) for value in (node.inputs[0], node.outputs[0]))  # type: ignore[union-attr]
    return node.op_type in VIEWS and len(before) > 1 and after[:2] == before[:2] and set(before[2:]) <= {1}


def _stored(node: ir.Node) -> ir.Value:
    """Behind the activation function, if one follows."""
    uses = tuple(node.outputs[0].uses())
    following = uses[0].node if len(uses) == 1 else None
    return following.outputs[0] if following is not None and following.op_type == "Relu" else node.outputs[0]
