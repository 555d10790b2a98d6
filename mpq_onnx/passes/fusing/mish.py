"""Mish (arXiv 1908.08681), written in Softplus and Tanh."""

import onnx_ir as ir

from mpq_onnx.passes.fusing.activation_rule import ActivationRule, inner_functions
from mpq_onnx.passes.fusing.polynomial import Polynomial, monomial
from mpq_onnx.passes.fusing.root_rule import Build


class MishRule(ActivationRule):
    """x tanh(softplus(x)) -> Mish(x)"""

    inner = frozenset({"Softplus"})

    def recognise(self, read: Polynomial, x: ir.Value) -> Build | None:
        for function in inner_functions(read, "Tanh"):
            for softplus in inner_functions(function.argument, "Softplus"):
                if (
                    softplus.argument.is_close({monomial(x): 1.0})
                    and function.argument.is_close({monomial(softplus): 1.0})
                    and read.is_close({monomial(x, function): 1.0})
                ):
                    return lambda op: op.Mish(x)
        return None


RULES = MishRule.rules(["Mul"])
