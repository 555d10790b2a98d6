"""Writes networks in small operators as exporters do, in any of the ways that mean the same."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Choose = Callable[[int], int]
"""Choose(n) is a number below n."""


class SmallOps:
    """A graph under construction: every method adds nodes and returns the name of their output."""

    def __init__(self, choose: Choose, opset: int) -> None:
        self.choose, self.opset = choose, opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def node(self, op_type: str, *inputs: str, **attributes: object) -> str:
        output = self.name()
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], **attributes))
        return output

    def constant(self, value: object, dtype: type = np.float32) -> str:
        """An initializer or a Constant node; scalars also with one dimension."""
        array = np.asarray(value, dtype)
        if array.ndim == 0 and dtype is np.float32 and self.choose(2):
            array = array.reshape(1)
        if self.choose(2):
            return self.node("Constant", value=numpy_helper.from_array(array))
        name = self.name()
        self.initializers[name] = array
        return name

    def both(self, op_type: str, a: str, b: str) -> str:
        """A commutative operator, its operands in either order."""
        return self.node(op_type, *((a, b) if self.choose(2) else (b, a)))

    def times(self, a: str, value: float) -> str:
        """a * value, also as a division."""
        if self.choose(2):
            return self.node("Div", a, self.constant(1 / value))
        return self.both("Mul", a, self.constant(value))

    def plus(self, a: str, value: float) -> str:
        if self.choose(3) == 0:
            return self.node("Sub", a, self.constant(-value))
        return self.both("Add", a, self.constant(value))

    def product(self, *factors: str) -> str:
        """The product in any order and grouping."""
        left = list(factors)
        while len(left) > 1:
            a = left.pop(self.choose(len(left)))
            b = left.pop(self.choose(len(left)))
            left.append(self.both("Mul", a, b))
        return left[0]

    def square(self, a: str) -> str:
        return self.node("Pow", a, self.constant(2.0)) if self.choose(2) else self.node("Mul", a, a)

    def over(self, a: str, b: str) -> str:
        """a / b"""
        return self.both("Mul", a, self.node("Reciprocal", b)) if self.choose(2) else self.node("Div", a, b)

    def by_root(self, a: str, b: str) -> str:
        """a / sqrt(b)"""
        way = self.choose(4)
        if way == 0:
            return self.both("Mul", a, self.node("Pow", b, self.constant(-0.5)))
        root = self.node("Pow", b, self.constant(0.5)) if way == 1 else self.node("Sqrt", b)
        return self.over(a, root)

    def reduced(self, op_type: str, a: str, axes: Sequence[int], keepdims: int = 1) -> str:
        """A reduction, its axes an attribute or an input as the operator set has it."""
        by_input = self.opset >= (13 if op_type == "ReduceSum" else 18)
        if by_input:
            return self.node(op_type, a, self.constant(list(axes), np.int64), keepdims=keepdims)
        return self.node(op_type, a, axes=list(axes), keepdims=keepdims)

    def unsqueezed(self, a: str, axes: Sequence[int]) -> str:
        if self.opset >= 13:
            return self.node("Unsqueeze", a, self.constant(list(axes), np.int64))
        return self.node("Unsqueeze", a, axes=list(axes))

    def mean(self, a: str, axes: Sequence[int], shape: Sequence[int]) -> str:
        """The mean with its axes kept, also as a sum, and also put back afterwards."""
        way = self.choose(3)
        if way == 0:
            size = int(np.prod([shape[axis] for axis in axes]))
            return self.times(self.reduced("ReduceSum", a, axes), 1 / size)
        if way == 1:
            return self.unsqueezed(self.reduced("ReduceMean", a, axes, keepdims=0), axes)
        return self.reduced("ReduceMean", a, axes)

    def model(
        self, output: str, shape: Sequence[int], result: Sequence[int] | None = None
    ) -> onnx.ModelProto:
        """A model of input x, [n, *shape[1:]], and of `output`, [n, *result[1:]], where its shape is stated."""
        made = None if result is None else ["n", *result[1:]]
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape[1:]])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, made)],
            [numpy_helper.from_array(array, name) for name, array in self.initializers.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
