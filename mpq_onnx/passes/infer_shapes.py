"""Shapes of what nodes compute, by ONNX's inference, also of operators that it knows nothing of but that keep a shape."""

import contextlib
from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes import common

from mpq_onnx.graph.operators import is_standard
from mpq_onnx.ops.composites import COMPOSITES
from mpq_onnx.ops.composites import DOMAIN as COMPOSITE
from mpq_onnx.passes.old_operators import WAITING

STAND_INS = {"GroupNormalization": "InstanceNormalization", "MeanVarianceNormalization": "Softplus"}
"""Operators without an inference of their own -> one whose result has the shape of its first operand too."""
SHAPED = "Softplus"
"""What stands in for operators of domains that ONNX does not know."""
KEEPING_SHAPE = {
    WAITING: frozenset({"Clip", "Gelu", "HardSwish", "LayerNormalization", "Softmax", "ThresholdedRelu"}),
    COMPOSITE: COMPOSITES,
}
"""Those of them whose result has the shape of the first operand, by domain."""


class InferShapesPass(ir.passes.InPlacePass):
    """What is not known yet, in subgraphs too."""

    def __init__(self, check_type: bool = True, strict_mode: bool = True, data_prop: bool = True) -> None:
        """Args: as ONNX's inference has them."""
        super().__init__()
        self.inference = common.ShapeInferencePass(check_type, strict_mode, data_prop)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        with _stood_in_for(model):
            return self.inference(model)


@contextlib.contextmanager
def _stood_in_for(model: ir.Model) -> Iterator[None]:
    """Nodes that have a stand-in are it meanwhile; SHAPED reads the first operand alone."""
    known = {
        node: (node.domain, node.op_type, tuple(node.inputs))
        for node in model.graph.all_nodes()
        if _stand_in(node) is not None
    }
    for node in known:
        node.op_type, node.domain = str(_stand_in(node)), ""
        if node.op_type == SHAPED:
            node.resize_inputs(1)
    try:
        yield
    finally:
        for node, (domain, op_type, inputs) in known.items():
            node.domain, node.op_type = domain, op_type
            node.resize_inputs(len(inputs))
            for index, value in enumerate(inputs):
                node.replace_input_with(index, value)


def _stand_in(node: ir.Node) -> str | None:
    if is_standard(node):
        return STAND_INS.get(node.op_type)
    return SHAPED if node.op_type in KEEPING_SHAPE.get(node.domain, ()) else None
