"""Shapes of what nodes compute, by ONNX's inference, also of operators that it knows nothing of but that keep a shape."""

import contextlib
from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir.passes import common

STAND_INS = {"GroupNormalization": "InstanceNormalization", "MeanVarianceNormalization": "Softplus"}
"""Operators without an inference of their own -> one whose result has the shape of its first operand too."""


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
    """The nodes of STAND_INS are others meanwhile."""
    names = {
        node: node.op_type
        for node in model.graph.all_nodes()
        if not node.domain and node.op_type in STAND_INS
    }
    for node, name in names.items():
        node.op_type = STAND_INS[name]
    try:
        yield
    finally:
        for node, name in names.items():
            node.op_type = name
