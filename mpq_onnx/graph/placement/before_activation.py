"""Placement "before-activation": as "all", but quantized before the fused activation function, not after it.

A ReLU of a quantized tensor is quantized already, so that it needs no quantizer of its own; but half of the levels stand for
values that it throws away.
"""

import onnx_ir as ir

from mpq_onnx.graph.placement.all_outputs import input_sites, output_sites
from mpq_onnx.graph.placement.graph_roles import ACTIVATION_FUNCTIONS, FUSED_ACTIVATIONS, fused_into
from mpq_onnx.graph.placement.joined_parts import computes_by_part
from mpq_onnx.graph.placement.sites import ActivationSite, Shapes
from mpq_onnx.graph.roles import ValueRoles


def activation_sites(model: ir.Model, shapes: Shapes, roles: ValueRoles) -> tuple[ActivationSite, ...]:
    """The activation sites of a canonical float model, inputs first, then in graph order."""
    return input_sites(model, shapes, roles) + output_sites(
        model, shapes, roles, lambda node: _leaves_float(node) or computes_by_part(node, roles)
    )


def _leaves_float(node: ir.Node) -> bool:
    """A fused activation that keeps levels apart, or a node whose bias is added by the next."""
    consumer = fused_into(node)
    if consumer is not None:
        return consumer.op_type not in ACTIVATION_FUNCTIONS
    producer = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    return producer is not None and node.op_type in FUSED_ACTIVATIONS and fused_into(producer) is node
