"""A scale and a bias of constants behind a tensor, however many nodes they are written in."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.passes.fusing.axes import same_shape, varying_axes
from mpq_onnx.passes.fusing.polynomial import ONE, monomial
from mpq_onnx.passes.fusing.reading import Reader, constant_array

AFFINE = frozenset({"Add", "Div", "Mul", "Sub"})


@dataclass(frozen=True)
class Affine:
    """scale * x + bias; both broadcast beside x."""

    scale: np.ndarray
    bias: np.ndarray
    interior: frozenset[ir.Node]

    def varies_along(self, axis: int, rank: int) -> bool:
        """True where scale and bias vary along `axis` of a tensor of `rank` at most."""
        return all(set(varying_axes(each, rank)) <= {axis} for each in (self.scale, self.bias))

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.bias).all())


def affine_behind(x: ir.Value, output: ir.Value) -> Affine | None:
    """`output` as an affine function of `x` of the same shape; None where it is anything else."""
    if not same_shape(output.shape, x.shape):
        return None
    reader = Reader(x)
    read = reader.read(output)
    if read.layout is not None or monomial(x) not in read.terms or not set(read.terms) <= {monomial(x), ONE}:
        return None
    bias = read.terms.get(ONE, np.array(0.0))
    return Affine(read.terms[monomial(x)], bias, frozenset(reader.interior))


def is_followed_by_affine(root: ir.Node) -> bool:
    """True where one more constant is added or multiplied and the shape stays: the composite ends later."""
    output = root.outputs[0]
    uses = tuple(output.uses())
    if output.is_graph_output() or len(uses) != 1:
        return False
    node, index = uses[0].node, uses[0].idx
    if node.op_type not in AFFINE or node.domain or (node.op_type == "Div" and index != 0):
        return False
    return constant_array(node.inputs[1 - index]) is not None and same_shape(
        node.outputs[0].shape, output.shape
    )
