"""Sigmoid, written in Exp."""

import onnx_ir as ir

from mpq_onnx.passes.fusing.activation_rule import ActivationRule, inner_functions
from mpq_onnx.passes.fusing.polynomial import Polynomial, monomial
from mpq_onnx.passes.fusing.root_rule import Build


class SigmoidRule(ActivationRule):
    """1 / (1 + exp(-x)) -> Sigmoid(x)"""

    inner = frozenset({"Exp"})

    def recognise(self, read: Polynomial, x: ir.Value) -> Build | None:
        for function in inner_functions(read, "Sigmoid"):
            if function.argument.is_close({monomial(x): 1.0}) and read.is_close({monomial(function): 1.0}):
                return lambda op: op.Sigmoid(x)
        return None


RULES = SigmoidRule.rules(["Div", "Reciprocal"])
