"""GELU, exact and by tanh (arXiv 1606.08415), written in Erf, Tanh or Sigmoid."""

import math

import onnx_ir as ir

from mpq_onnx.passes.fusing.activation_rule import ActivationRule, inner_functions
from mpq_onnx.passes.fusing.polynomial import Polynomial, monomial
from mpq_onnx.passes.fusing.root_rule import Build

SLOPE = math.sqrt(2 / math.pi)
CUBIC = 0.044715


class GeluRule(ActivationRule):
    """x/2 (1 + erf(x / sqrt 2)) -> Gelu(x)
    x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) -> Gelu(x, approximate="tanh")
    x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)) -> the same
    """

    inner = frozenset({"Erf", "Tanh", "Sigmoid", "Exp"})

    def recognise(self, read: Polynomial, x: ir.Value) -> Build | None:
        line, cube = monomial(x), monomial((x, 3))
        for function in inner_functions(read, "Erf"):
            halves = {line: 0.5, monomial(x, function): 0.5}
            if read.is_close(halves) and function.argument.is_close({line: math.sqrt(0.5)}):
                return lambda op: op.Gelu(x)
        for name, factor in (("Tanh", 1), ("Sigmoid", 2)):
            for function in inner_functions(read, name):
                product = monomial(x, function)
                whole = {line: 0.5, product: 0.5} if name == "Tanh" else {product: 1.0}
                argument = {line: factor * SLOPE, cube: factor * SLOPE * CUBIC}
                if read.is_close(whole) and function.argument.is_close(argument):
                    return lambda op: op.Gelu(x, approximate="tanh")
        return None


RULES = GeluRule.rules(["Mul", "Div", "Add"])
