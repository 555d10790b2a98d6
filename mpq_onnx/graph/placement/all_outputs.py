"""Placement "all": every op output that is not a pass-through, after the fused activation.

Residual adds, average pools, softmax, layer normalization and the model's outputs included; inputs that are signals get a fixed
8-bit quantizer. Nothing stays in float between two nodes but what is no signal (graph.roles), masked scores, whose softmax
applies the mask itself, and joined tensors whose parts are quantized one by one, and what computes on those (joined_parts).
"""

import math
from collections.abc import Callable

import onnx_ir as ir

from mpq_onnx.graph.operators import is_float, is_float32, is_pass_through, read_by_multiplier
from mpq_onnx.graph.placement.graph_roles import CASTS, fused_into
from mpq_onnx.graph.placement.joined_parts import computes_by_part, keeps_parts
from mpq_onnx.graph.placement.rounded_behind import INPUT, EnteringInputs, entering_inputs
from mpq_onnx.graph.placement.sites import ActivationSite, Shapes, shape_of
from mpq_onnx.graph.roles import Role, ValueRoles

INPUT_BITS = 8


def activation_sites(model: ir.Model, shapes: Shapes, roles: ValueRoles) -> tuple[ActivationSite, ...]:
    """The activation sites of a canonical float model, inputs first, then in graph order."""
    return input_sites(model, shapes, roles) + output_sites(
        model, shapes, roles, lambda node: fused_into(node) is not None or computes_by_part(node, roles)
    )


def input_sites(model: ir.Model, shapes: Shapes, roles: ValueRoles) -> tuple[ActivationSite, ...]:
    """The model's inputs that are floating-point signals and that nothing normalizes, at a fixed width."""
    direct = entering_inputs(model).direct
    return tuple(
        _site(value, str(value.name), INPUT, shapes, roles, INPUT_BITS, direct.get(str(value.name)))
        for value in model.graph.inputs
        if direct.get(str(value.name), True)
        and value.uses()
        and roles.is_quantizable(value)
        and _elements(value, shapes)
    )


def output_sites(
    model: ir.Model, shapes: Shapes, roles: ValueRoles, leaves_float: Callable[[ir.Node], bool]
) -> tuple[ActivationSite, ...]:
    """The outputs of all nodes that compute a signal, in graph order.

    Args:
        leaves_float: true for nodes whose output gets no quantizer, as another one follows at once.
    """
    sites = []
    entering = entering_inputs(model)
    for node in model.graph:
        if (
            node in entering.between
            or keeps_parts(node)
            or (leaves_float(node) and not _fuses_with_bookkeeping(node, roles))
        ):
            continue
        for output in node.outputs:
            read = output.name and (output.uses() or output.is_graph_output())
            if (
                read
                and roles.is_quantizable(output)
                and (entering.is_end(node) or _is_new(node, output, roles))
                and _elements(output, shapes)
            ):
                bits = INPUT_BITS if _enters(node, roles, entering) else None
                sites.append(_site(output, str(node.name), node.op_type, shapes, roles, bits))
    return tuple(sites)


def _fuses_with_bookkeeping(node: ir.Node, roles: ValueRoles) -> bool:
    """What would be quantized after the next node is not, as that lays a mask or makes an index."""
    consumer = fused_into(node)
    return consumer is not None and not roles.is_quantizable(consumer.outputs[0])


def _is_new(node: ir.Node, output: ir.Value, roles: ValueRoles) -> bool:
    """False where `output` has values of a tensor that is quantized already, or whole numbers that no multiplier reads."""
    source = node.inputs[0] if node.inputs else None
    if is_pass_through(node):
        return source is not None and source.name in roles.masked
    if node.op_type in CASTS and not is_float(source):
        return read_by_multiplier(output)
    return True


def _enters(node: ir.Node, roles: ValueRoles, entering: EnteringInputs) -> bool:
    """True behind what normalizes an input, and for the Cast by which one of another type (integers, float16) enters."""
    if entering.is_end(node):
        return True
    source = node.inputs[0] if node.inputs else None
    is_cast = node.op_type in CASTS
    return is_cast and source is not None and not is_float32(source) and roles.of(source) is Role.SIGNAL


def is_input_data(value: ir.Value, roles: ValueRoles, entering: EnteringInputs) -> bool:
    """True for a model input's own values, perhaps normalized, behind pass-through ops or a Cast from another type."""
    node = value.producer()
    while node is not None and is_pass_through(node) and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node is None or _enters(node, roles, entering)


def _elements(value: ir.Value, shapes: Shapes) -> int:
    return math.prod(shape_of(str(value.name), shapes))


def _site(
    value: ir.Value,
    node: str,
    op_type: str,
    shapes: Shapes,
    roles: ValueRoles,
    bits: int | None,
    direct: tuple[str, ...] | None = None,
) -> ActivationSite:
    """Args: direct: the only nodes that read the value as it is; None where all do."""
    name = str(value.name)
    readers = roles.data_readers.get(name)
    if direct is not None:
        readers = tuple(each for each in direct if readers is None or each in readers)
    if readers is None and value.is_graph_input() and value.is_graph_output():
        readers = tuple(str(use.node.name) for use in value.uses())  # what is passed out is not rounded
    return ActivationSite(node, op_type, name, _elements(value, shapes), bits, readers)
