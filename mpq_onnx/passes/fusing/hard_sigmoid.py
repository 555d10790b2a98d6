"""HardSigmoid, written as a clipped line."""

import onnx_ir as ir

from mpq_onnx.passes.fusing.activation_rule import ActivationRule, inner_functions
from mpq_onnx.passes.fusing.polynomial import ONE, Polynomial, monomial
from mpq_onnx.passes.fusing.root_rule import Build


class HardSigmoidRule(ActivationRule):
    """clip(x + 3, 0, 6) / 6, clip(alpha x + 1/2, 0, 1) and the like -> HardSigmoid(x, alpha, 1/2)

    A line through another point than (0, 1/2) is a clipped image or a quantizer, not a sigmoid.
    """

    inner = frozenset({"Clip", "Min", "Max", "Relu"})

    def recognise(self, read: Polynomial, x: ir.Value) -> Build | None:
        for step in inner_functions(read, "HardStep"):
            alpha = step.argument.scalar(monomial(x))
            if not alpha or alpha <= 0 or not read.is_close({monomial(step): 1.0}):
                continue
            if step.argument.is_close({monomial(x): alpha, ONE: 0.5}):
                return lambda op: op.HardSigmoid(x, alpha=alpha, beta=0.5)
        return None


RULES = HardSigmoidRule.rules(["Mul", "Div", "Clip", "Min", "Max", "Add"])
