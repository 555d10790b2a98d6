"""SiLU, Swish with a slope (arXiv 1710.05941), the sigmoid's approximation of GELU among them."""

import onnx_ir as ir

from mpq_onnx.ops.composites import DOMAIN, VERSION
from mpq_onnx.passes.fusing.activation_rule import ActivationRule, inner_functions
from mpq_onnx.passes.fusing.polynomial import Polynomial, monomial
from mpq_onnx.passes.fusing.root_rule import Build


class SwishRule(ActivationRule):
    """x sigmoid(alpha x) -> Swish(x, alpha), the sigmoid also as 1 / (1 + exp(-alpha x))"""

    inner = frozenset({"Sigmoid", "Exp"})

    def recognise(self, read: Polynomial, x: ir.Value) -> Build | None:
        for function in inner_functions(read, "Sigmoid"):
            alpha = function.argument.scalar(monomial(x))
            if (
                alpha
                and set(function.argument.terms) == {monomial(x)}
                and read.is_close({monomial(x, function): 1.0})
            ):
                slope = {} if alpha == 1 else {"alpha": alpha}
                return lambda op: op.Swish(x, **slope, _domain=DOMAIN, _version=VERSION)
        return None


RULES = SwishRule.rules(["Mul", "Div"])
