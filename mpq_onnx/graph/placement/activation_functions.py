"""Placement "relu": only the outputs of activation functions are quantized; inputs, residual sums and logits stay in float."""

import onnx_ir as ir

from mpq_onnx.graph.placement.all_outputs import output_sites
from mpq_onnx.graph.placement.graph_roles import ACTIVATION_FUNCTIONS
from mpq_onnx.graph.placement.sites import ActivationSite, Shapes
from mpq_onnx.graph.roles import ValueRoles


def activation_sites(model: ir.Model, shapes: Shapes, roles: ValueRoles) -> tuple[ActivationSite, ...]:
    """The activation sites of a canonical float model, in graph order."""
    return output_sites(model, shapes, roles, lambda node: node.op_type not in ACTIVATION_FUNCTIONS)
