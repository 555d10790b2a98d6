"""Operators that ONNX has in later operator sets than the canonical one, as functions of a domain of our own.

Names, inputs and attributes are those of ONNX (RMSNormalization-23, Swish-24), so that every stage treats such a node as the
operator of that name. onnxruntime puts the body in its place when it loads a file. `axis` of RMSNormalization is negative.
"""

import onnx_ir as ir

from mpq_onnx.graph.operators import STANDARD_DOMAINS

DOMAIN = "mpq_onnx.composite"
VERSION = 1
COMPOSITES = frozenset({"RMSNormalization", "Swish"})
"""The functions' names; their bodies are in composite_functions.py."""


def is_composite(function: ir.Function) -> bool:
    """True for a function of ours, which stays one node in the canonical form."""
    return function.domain == DOMAIN and function.name in COMPOSITES


def is_standard(node: ir.Node) -> bool:
    """True for ONNX's own operators, those that a file holds as a function of ours included."""
    return node.domain in STANDARD_DOMAINS or (node.domain == DOMAIN and node.op_type in COMPOSITES)


def declare_composites(model: ir.Model) -> None:
    """Add the functions and the operator set that the composite nodes of `model` need."""
    from mpq_onnx.ops.composite_functions import FUNCTIONS  # onnxscript is slow to load

    used = {node.op_type for node in model.graph.all_nodes() if node.domain == DOMAIN}
    for name in sorted(used & COMPOSITES):
        function = ir.serde.deserialize_function(FUNCTIONS[name].to_function_proto())
        model.functions[function.identifier()] = function
        model.opset_imports[DOMAIN] = VERSION
