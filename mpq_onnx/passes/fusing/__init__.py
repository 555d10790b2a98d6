"""Fusing what exporters took apart: composites become one standard operator each, one family a file.

Operators of later sets than the canonical one (RMSNormalization, Swish) are one node of a function of ours
(ops/composites.py).
A composite is left as it is where something inside it is read elsewhere or is an output, or where shapes do not fit.
"""

import onnx_ir as ir

from mpq_onnx.ops.composites import declare_composites
from mpq_onnx.passes.fusing import (
    affine_behind_views,
    affine_into_weights,
    gelu,
    group_normalization,
    hard_sigmoid,
    hard_swish,
    limits,
    mish,
    normalization,
    sigmoid,
    softmax,
    swish,
)
from mpq_onnx.passes.infer_shapes import InferShapesPass
from mpq_onnx.passes.rewrite import RewritePass

FAMILIES = (
    softmax.RULES,
    normalization.RULES,
    group_normalization.RULES,
    affine_behind_views.RULES,
    affine_into_weights.RULES,
    hard_swish.RULES,
    hard_sigmoid.RULES,
    gelu.RULES,
    mish.RULES,
    swish.RULES,
    sigmoid.RULES,
    limits.RULES,
)
"""In this order: a family sees what those before it made."""


def fuse_composites(model: ir.Model) -> None:
    """Put standard operators in place of composites; `model` is at the canonical opset, its constants are initializers."""
    InferShapesPass()(model)
    for rules in FAMILIES:
        RewritePass(rules)(model)
    declare_composites(model)
