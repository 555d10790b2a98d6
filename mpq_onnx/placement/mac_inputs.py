"""Placement "gemm": only what multiply-accumulate nodes read is quantized.

Residual sums, normalizations, pools and the model's outputs stay in float: the "precision highway" around the multipliers. What
a multiplier and others read is quantized for the multiplier alone.
"""

import math

import onnx_ir as ir

from mpq_onnx.graph.mac import MAC_OPS
from mpq_onnx.placement.all_outputs import INPUT_BITS
from mpq_onnx.placement.graph_roles import is_constant, is_float, quantized_source
from mpq_onnx.placement.index_arithmetic import exact_values
from mpq_onnx.placement.sites import ActivationSite, Shapes, shape_of

FACTORS = {"Einsum": slice(None)}
"""Inputs that are multiplied; the first two of all other ops."""


def activation_sites(model: ir.Model, shapes: Shapes) -> tuple[ActivationSite, ...]:
    """The activation sites of a canonical float model, in the order of their first readers."""
    exact = exact_values(model)
    inputs = {str(value.name) for value in model.graph.inputs}
    readers: dict[str, list[str]] = {}
    values: dict[str, ir.Value] = {}
    for node in model.graph:
        if node.op_type not in MAC_OPS or node.domain not in ("", "ai.onnx"):
            continue
        for value in dict.fromkeys(node.inputs[FACTORS.get(node.op_type, slice(2))]):
            if value is None or is_constant(value) or not is_float(value) or value.name in exact:
                continue
            values[str(value.name)] = value
            readers.setdefault(str(value.name), []).append(str(node.name))
    return tuple(
        _site(values[tensor], tuple(nodes), inputs, model, shapes) for tensor, nodes in readers.items()
    )


def _site(
    value: ir.Value, readers: tuple[str, ...], inputs: set[str], model: ir.Model, shapes: Shapes
) -> ActivationSite:
    tensor, producer = str(value.name), value.producer()
    is_input = quantized_source(model, tensor, inputs) is not None
    return ActivationSite(
        node=tensor if producer is None else str(producer.name),
        op_type="Input" if producer is None else producer.op_type,
        tensor=tensor,
        elements=math.prod(shape_of(tensor, shapes)),
        fixed_bits=INPUT_BITS if is_input else None,
        readers=readers,
    )
