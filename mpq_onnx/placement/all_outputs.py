"""Placement "all": every op output that is not a pass-through, after the fused activation.

Residual adds, concatenations, average pools, softmax, layer normalization and the model's outputs included; the model's
floating-point inputs get a fixed 8-bit quantizer. Nothing stays in float between two nodes but index arithmetic (see there).
"""

import math
from collections.abc import Callable, Set

import onnx_ir as ir

from mpq_onnx.placement.graph_roles import fused_into, is_float, is_pass_through
from mpq_onnx.placement.index_arithmetic import exact_values, masks_softmax
from mpq_onnx.placement.sites import ActivationSite, Shapes, shape_of

INPUT_BITS = 8


def activation_sites(model: ir.Model, shapes: Shapes) -> tuple[ActivationSite, ...]:
    """The activation sites of a canonical float model, inputs first, then in graph order."""
    return input_sites(model, shapes) + output_sites(model, shapes, lambda node: fused_into(node) is not None)


def input_sites(model: ir.Model, shapes: Shapes) -> tuple[ActivationSite, ...]:
    """The model's floating-point inputs, at a fixed width."""
    return tuple(
        ActivationSite(
            str(value.name),
            "Input",
            str(value.name),
            math.prod(shape_of(str(value.name), shapes)),
            INPUT_BITS,
        )
        for value in model.graph.inputs
        if is_float(value) and value.uses()
    )


def output_sites(
    model: ir.Model, shapes: Shapes, leaves_float: Callable[[ir.Node], bool]
) -> tuple[ActivationSite, ...]:
    """The outputs of all nodes that compute a signal, in graph order.

    Args:
        leaves_float: true for nodes whose output gets no quantizer.
    """
    sites = []
    exact = exact_values(model)
    for node in model.graph:
        if is_pass_through(node) or leaves_float(node) or _is_static(node, exact):
            continue
        if masks_softmax(node, exact):
            continue
        for output in node.outputs:
            if output.name and is_float(output) and (output.uses() or output.is_graph_output()):
                elements = math.prod(shape_of(output.name, shapes))
                sites.append(ActivationSite(str(node.name), node.op_type, output.name, elements))
    return tuple(sites)


def _is_static(node: ir.Node, exact: Set[str]) -> bool:
    """True for nodes that compute no signal: shape arithmetic, constant folding left-overs, what stems from integer inputs."""
    return node.op_type in ("Shape", "Size", "ConstantOfShape", "Range") or all(
        value.name in exact for value in node.outputs
    )
