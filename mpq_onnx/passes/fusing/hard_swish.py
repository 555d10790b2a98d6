"""HardSwish (arXiv 1905.02244), written as a product with a clipped line."""

import onnx_ir as ir

from mpq_onnx.passes.fusing.activation_rule import ActivationRule, inner_functions
from mpq_onnx.passes.fusing.polynomial import ONE, Polynomial, monomial
from mpq_onnx.passes.fusing.root_rule import Build


class HardSwishRule(ActivationRule):
    """x clip(x + 3, 0, 6) / 6 in any order, x HardSigmoid(x, 1/6, 1/2) -> HardSwish(x)"""

    inner = frozenset({"Clip", "HardSigmoid", "Min", "Max", "Relu"})

    def recognise(self, read: Polynomial, x: ir.Value) -> Build | None:
        for step in inner_functions(read, "HardStep"):
            line = {monomial(x): 1 / 6, ONE: 0.5}
            if read.is_close({monomial(x, step): 1.0}) and step.argument.is_close(line):
                return lambda op: op.HardSwish(x)
        return None


RULES = HardSwishRule.rules(["Mul", "Div"])
