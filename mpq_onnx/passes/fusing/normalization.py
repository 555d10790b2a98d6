"""LayerNorm, InstanceNorm and RMSNorm, written in means, a square root and a division."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.passes.fusing.affine import AFFINE, is_followed_by_affine
from mpq_onnx.passes.fusing.axes import same_shape
from mpq_onnx.passes.fusing.normalized import Normalized
from mpq_onnx.passes.fusing.polynomial import ONE, Function, Moment, Polynomial, monomial
from mpq_onnx.passes.fusing.reading import MEANS, Reader, ancestors, is_closed, producer
from mpq_onnx.passes.fusing.root_rule import Build, RootRule

FARTHEST = 40
"""Values looked at on the way back from the last node; the longest LayerNorm has about 20."""


class NormalizationRule(RootRule):
    """(x - mean x) / sqrt(var x + epsilon) * scale + bias -> LayerNormalization or InstanceNormalization
    x / sqrt(mean x^2 + epsilon) * scale -> RMSNormalization

    In any order and grouping: x * (scale * rsqrt) + (bias - mean * (scale * rsqrt)), var as mean x^2 - (mean x)^2 or over
    n - 1, means as sums, with their axes kept, put back or reshaped. Axes elsewhere than at the end are moved there.
    An epsilon outside the root is another function and stays as it is.
    """

    def find(self, root: ir.Node) -> Build | None:
        if is_followed_by_affine(root):
            return None
        candidates = _candidates(root.outputs[0])
        for centred in (True, False):
            for x in reversed(candidates):
                reader = Reader(x)
                found = _normalized(reader.read(root.outputs[0]), x, centred)
                if found is not None and is_closed(root, reader.interior) and fits(root, x):
                    return found.build(root.outputs[0])
        return None


@dataclass(frozen=True)
class _Factors:
    """What stands around the normalized tensor."""

    epsilon: float
    scale: np.ndarray
    bias: np.ndarray


def fits(root: ir.Node, x: ir.Value) -> bool:
    """True where the result has the shape of `x`: no constant made it larger."""
    return same_shape(root.outputs[0].shape, x.shape)


def _candidates(output: ir.Value) -> list[ir.Value]:
    """What the means behind `output` may be means of, nearest first."""
    found: dict[ir.Value, None] = {}
    for value in ancestors(output, FARTHEST):
        node = producer(value)
        if node is None or node.op_type not in MEANS or node.inputs[0] is None:
            continue
        for each in ancestors(node.inputs[0], 8):
            if each.dtype is None or each.dtype.is_floating_point():
                found[each] = None
    return list(found)


def _normalized(read: Polynomial, x: ir.Value, centred: bool) -> Normalized | None:
    roots = {
        each
        for term in read.terms
        for each, power in term
        if isinstance(each, Function) and each.name == "Sqrt" and power == -1
    }
    if len(roots) != 1 or read.layout is not None:
        return None
    deviation = roots.pop()
    squares = {each for term in deviation.argument.terms for each, _ in term if isinstance(each, Moment)}
    axes = {each.axes for each in squares}
    if len(axes) != 1:
        return None
    over = axes.pop()
    factors = _factors(read, deviation, x, over, centred)
    if factors is None:
        return None
    return Normalized(x, over, factors.epsilon, factors.scale, factors.bias, centred)


def _factors(
    read: Polynomial, deviation: Function, x: ir.Value, axes: tuple[int, ...], centred: bool
) -> _Factors | None:
    square, mean = Moment(2, axes), Moment(1, axes)
    inside = deviation.argument
    multiple, epsilon = inside.scalar(monomial(square)), inside.scalar(ONE)
    if not multiple or multiple <= 0 or epsilon is None or epsilon < 0:
        return None
    wanted = {monomial(square): multiple, ONE: epsilon} if epsilon else {monomial(square): multiple}
    if centred:
        wanted[monomial((mean, 2))] = -multiple
    if not inside.is_close(wanted):
        return None
    normal, offset = monomial(x, (deviation, -1)), monomial(mean, (deviation, -1))
    allowed = {normal, ONE, offset} if centred else {normal, ONE}
    if normal not in read.terms or not set(read.terms) <= allowed:
        return None
    scale = read.terms[normal]
    if centred and (
        offset not in read.terms or not np.allclose(read.terms[offset], -scale, rtol=1e-6, atol=0)
    ):
        return None
    # sqrt(m var + e) = sqrt(m) sqrt(var + e/m): a variance over n - 1 has m = n / (n - 1).
    return _Factors(epsilon / multiple, scale / np.sqrt(multiple), read.terms.get(ONE, np.array(0.0)))


RULES = NormalizationRule.rules(sorted(AFFINE))
