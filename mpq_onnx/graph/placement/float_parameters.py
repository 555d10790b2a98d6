"""Constants of floats beside weights, tables and biases: they stay in float, and count as what they take in the file.

Matrices that are added (positions), multiplied with activations entry by entry (modulated weights), that parts are taken from
other than by rows, and weights of products that have no axis of output channels.
"""

from collections.abc import Set

import onnx_ir as ir

from mpq_onnx.graph.masks import Strength, array_strength
from mpq_onnx.graph.operators import RECURRENT_OPS, TABLE_LOOKUPS, is_bookkeeping, is_float
from mpq_onnx.graph.placement.sites import FloatParameter

MATRIX = 2
OWN_PARAMETERS = frozenset(
    {
        *RECURRENT_OPS, "LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization",
        "BatchNormalization",
    }
)  # fmt: skip
"""Operators whose constants are biases, states and factors of normalizations."""


def float_parameters(model: ir.Model, taken: Set[str]) -> tuple[FloatParameter, ...]:
    """In graph order of their first readers.

    A vector is none, a bias or a factor a channel, unless it is looked up in; nor is a mask, what a normalization takes, or one
    number many times over.

    Args:
        taken: constants that have a width.
    """
    found: dict[str, FloatParameter] = {}
    for node in model.graph:
        for index, value in enumerate(node.inputs):
            if value is None or value.const_value is None or not is_float(value) or value.name in taken:
                continue
            shape = tuple(value.const_value.shape.numpy())
            is_matrix = sum(size > 1 for size in shape) >= MATRIX
            looked_up = node.op_type in TABLE_LOOKUPS and index == 0
            if not (is_matrix or looked_up) or is_bookkeeping(node, index) or node.op_type in OWN_PARAMETERS:
                continue
            array = value.const_value.numpy()
            if array_strength(array, 1.0) is not Strength.NONE or (array == array.flat[0]).all():
                continue
            site = FloatParameter(str(node.name), node.op_type, str(value.name), value.const_value.size)
            found.setdefault(site.tensor, site)
    return tuple(found.values())
