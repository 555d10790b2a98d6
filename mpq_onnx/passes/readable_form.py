"""A file in the operators that quantizers are read from: functions of others written out, quantizers of one domain."""

import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.model_file import clone
from mpq_onnx.graph.operators import OWN_DOMAINS
from mpq_onnx.passes.inline_functions import inline_functions
from mpq_onnx.passes.standard_quantizers import has_contributed_quantizers, with_standard_quantizers


def in_readable_form(model: ir.Model) -> ir.Model:
    """`model` itself where it has that form, or cannot be brought into it; else a copy."""
    is_inlined = all(function.domain.startswith(OWN_DOMAINS) for function in model.functions.values())
    if is_inlined and not has_contributed_quantizers(model):
        return model
    copy = clone(model)
    try:
        inline_functions(copy)
        return with_standard_quantizers(copy)
    except (ValueError, ModelError):
        return model
