"""Placement "gemm": only what multiply-accumulate nodes read is quantized.

Residual sums, normalizations, pools and the model's outputs stay in float: the "precision highway" around the multipliers. What
a multiplier and others read is quantized for the multiplier alone.
"""

import math

import onnx_ir as ir

from mpq_onnx.graph.operators import factors, is_multiplier
from mpq_onnx.graph.placement.all_outputs import INPUT_BITS, is_input_data
from mpq_onnx.graph.placement.rounded_behind import INPUT, entering_inputs
from mpq_onnx.graph.placement.sites import ActivationSite, Shapes, shape_of
from mpq_onnx.graph.roles import ValueRoles


def activation_sites(model: ir.Model, shapes: Shapes, roles: ValueRoles) -> tuple[ActivationSite, ...]:
    """The activation sites of a canonical float model, in the order of their first readers."""
    readers: dict[str, list[str]] = {}
    values: dict[str, ir.Value] = {}
    for node in model.graph:
        if not is_multiplier(node):
            continue
        for value in dict.fromkeys(factors(node)):
            if not roles.is_quantizable(value) or not math.prod(shape_of(_name(value), shapes)):
                continue
            values[_name(value)] = value
            readers.setdefault(_name(value), []).append(str(node.name))
    entering = entering_inputs(model)
    return tuple(
        _site(values[tensor], tuple(nodes), shapes, is_input_data(values[tensor], roles, entering))
        for tensor, nodes in readers.items()
    )


def _name(value: ir.Value) -> str:
    return str(value.name)


def _site(value: ir.Value, readers: tuple[str, ...], shapes: Shapes, is_input: bool) -> ActivationSite:
    tensor, producer = _name(value), value.producer()
    return ActivationSite(
        node=tensor if producer is None else str(producer.name),
        op_type=INPUT if producer is None else producer.op_type,
        tensor=tensor,
        elements=math.prod(shape_of(tensor, shapes)),
        fixed_bits=INPUT_BITS if is_input else None,
        readers=readers,
    )
