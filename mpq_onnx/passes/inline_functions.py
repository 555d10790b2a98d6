"""Functions of others, written out where they are called: what stands in them is read as the rest of the graph is."""

import onnx_ir as ir
from onnx_ir.passes import common

from mpq_onnx.graph.operators import OWN_DOMAINS
from mpq_onnx.passes.one_opset import OneOpsetPass


def inline_functions(model: ir.Model) -> None:
    """In place; functions of ours, such as noisy operators, stay.

    Raises:
        ValueError: a function's operators are others than those of the same names in the model.
    """
    OneOpsetPass()(model)
    common.InlinePass(lambda function: not function.domain.startswith(OWN_DOMAINS))(model)
