"""Read the arithmetic behind a value as a polynomial in one tensor, and list the nodes that this takes."""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.operators import is_standard
from mpq_onnx.passes.fusing import polynomial
from mpq_onnx.passes.fusing.axes import kept_shape, mean_axes_before, reduced_axes, same_shape
from mpq_onnx.passes.fusing.polynomial import Function, Moment, Polynomial, TooComplexError, atom, monomial

MOST_NODES = 48
LARGEST_CONSTANT = 2**16
"""Elements; a larger one is no scale and no bias of a normalization."""
FUNCTIONS = frozenset({"Erf", "Exp", "Log", "Sigmoid", "Softplus", "Tanh"})
LIMITS = frozenset({"Clip", "Max", "Min", "Relu"})
BOUNDS = LIMITS | {"HardSigmoid"}
MEANS = frozenset({"GlobalAveragePool", "ReduceMean", "ReduceSum", "ReduceSumSquare"})
VIEWS = frozenset({"Expand", "Reshape", "Squeeze", "Unsqueeze"})
ARITHMETIC = frozenset(
    {"Add", "BatchNormalization", "Cast", "Div", "Mul", "Neg", "Pow", "Reciprocal", "Sqrt", "Sub", "Sum"}
)
READ = FUNCTIONS | BOUNDS | MEANS | VIEWS | ARITHMETIC


def constant_array(value: ir.Value | None) -> np.ndarray | None:
    """The elements of a constant floating-point tensor of moderate size as float64; None for anything else."""
    tensor = None if value is None or value.is_graph_input() else value.const_value
    if tensor is None or not tensor.dtype.is_floating_point() or tensor.size > LARGEST_CONSTANT:
        return None
    return tensor.numpy().astype(np.float64)


def constant_scalar(value: ir.Value | None) -> float | None:
    array = constant_array(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def producer(value: ir.Value | None) -> ir.Node | None:
    """The standard operator that makes `value`."""
    node = None if value is None else value.producer()
    return node if node is not None and is_standard(node) else None


def ancestors(value: ir.Value, most: int, through: frozenset[str] = READ) -> Iterator[ir.Value]:
    """`value` and the values that it is computed from by operators of `through`, breadth first; no constants."""
    waiting, seen = [value], {value}
    for current in waiting:
        yield current
        node = producer(current)
        if node is None or node.op_type not in through or len(seen) > most:
            continue
        for each in node.inputs:
            if each is not None and each not in seen and each.const_value is None:
                seen.add(each)
                waiting.append(each)


def is_closed(root: ir.Node, interior: Iterable[ir.Node]) -> bool:
    """True where nobody else reads what the interior computes on the way to `root`."""
    nodes = {*interior, root}
    return all(
        not value.is_graph_output() and all(use.node in nodes for use in value.uses())
        for node in nodes - {root}
        for value in node.outputs
    )


class Reader:
    """Reads values as polynomials in tensor `x`; what cannot be read becomes an atom of its own.

    Attributes:
        interior: the nodes read on the way from `x` to the value.
    """

    def __init__(self, x: ir.Value) -> None:
        self.x = x
        self.interior: set[ir.Node] = set()
        self._known: dict[ir.Value, Polynomial] = {}

    def read(self, value: ir.Value | None) -> Polynomial:
        """`value` as a polynomial.

        Raises:
            TooComplexError: `value` is an omitted input.
        """
        if value is None:
            raise TooComplexError
        if value not in self._known:
            self._known[value] = self._read(value)
        return self._known[value]

    def _read(self, value: ir.Value) -> Polynomial:
        if value is self.x:
            return atom(value)
        array = constant_array(value)
        if array is not None:
            return polynomial.constant(array)
        node = producer(value)
        if node is None or node.op_type not in READ or len(self.interior) >= MOST_NODES:
            return atom(value)
        self.interior.add(node)
        try:
            return self._node(node)
        except TooComplexError:
            return atom(value)

    def _node(self, node: ir.Node) -> Polynomial:
        if node.op_type in FUNCTIONS:
            return self.read(node.inputs[0]).of(node.op_type)
        if node.op_type in BOUNDS:
            return self._bounded(node)
        if node.op_type in MEANS:
            return self._mean(node)
        if node.op_type in VIEWS:
            return self._view(node)
        if node.op_type == "BatchNormalization":
            return self.read(node.inputs[0]) * _batch_scale(node) + _batch_bias(node)
        return _ARITHMETIC[node.op_type](*(self.read(each) for each in self._operands(node)))

    def _operands(self, node: ir.Node) -> list[ir.Value | None]:
        if node.op_type == "Cast":
            value = node.inputs[0]
            if value is None or value.dtype is None or value.dtype != node.attributes["to"].as_int():
                raise TooComplexError
        return list(node.inputs)

    def _bounded(self, node: ir.Node) -> Polynomial:
        """low + (high - low) * HardStep((p - low) / (high - low)), HardStep the clip to [0, 1]."""
        inner, low, high, slope, offset = bound(node)
        below = producer(inner)
        while (
            inner is not self.x
            and below is not None
            and below.op_type in LIMITS
            and (slope, offset) == (1, 0)
        ):
            self.interior.add(below)
            inner, lower, upper, *_ = bound(below)
            low, high = limits_together((lower, upper), (low, high))
            below = producer(inner)
        argument = self.read(inner).scaled(slope) + polynomial.constant(offset)
        if (low, high) == (-math.inf, math.inf) or (
            (low, high) == (0, math.inf) and _is_never_negative(argument)
        ):
            return argument
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise TooComplexError
        width = high - low
        step = (argument + polynomial.constant(-low)).scaled(1 / width).of("HardStep")
        return step.scaled(width) + polynomial.constant(low)

    def _mean(self, node: ir.Node) -> Polynomial:
        value = node.inputs[0]
        axes = reduced_axes(node)
        if value is None or axes is None or not axes:
            raise TooComplexError
        argument = self.read(value)
        if not self._is_aligned(value, argument):
            before = producer(value)
            if before is None or before.op_type != "Reshape":
                raise TooComplexError
            source = before.inputs[0]
            mapped = None if source is None else mean_axes_before(source.shape, value.shape, axes)
            if source is None or mapped is None:
                raise TooComplexError
            value, axes, argument = source, mapped, self.read(source)
            if not self._is_aligned(value, argument):
                raise TooComplexError
            self.interior.add(before)
        if node.op_type == "ReduceSumSquare":
            argument = argument * argument
        result = self._moments(argument, axes)
        if node.op_type in ("ReduceSum", "ReduceSumSquare"):
            result = result.scaled(self._count(axes))
        return self._laid_out(result, node.outputs[0], axes)

    def _is_aligned(self, value: ir.Value, read: Polynomial) -> bool:
        """True where `value` has the shape of x and is made of x."""
        made_of_x = any(each is self.x for term in read.terms for each, _ in term)
        opaque = any(
            isinstance(each, ir.Value) and each is not self.x for term in read.terms for each, _ in term
        )
        return made_of_x and not opaque and read.layout is None and same_shape(value.shape, self.x.shape)

    def _moments(self, argument: Polynomial, axes: tuple[int, ...]) -> Polynomial:
        """The mean is linear, and what does not vary along its axes is a factor."""
        result = polynomial.constant(0.0)
        for term in argument.terms:
            coefficient = argument.scalar(term)
            if coefficient is None:
                raise TooComplexError
            outside = frozenset(
                (each, power) for each, power in term if isinstance(each, Moment) and each.axes == axes
            )
            inside = term - outside
            power = 0
            if inside:
                ((each, power),) = inside if len(inside) == 1 else ((None, 0),)
                if each is not self.x or power not in (1, 2):
                    raise TooComplexError
            product = Polynomial({outside: np.array(coefficient)})
            result = result + (product * atom(Moment(power, axes)) if power else product)
        return result

    def _count(self, axes: tuple[int, ...]) -> int:
        assert self.x.shape is not None
        sizes = [self.x.shape[axis] for axis in axes]
        if not all(isinstance(size, int) for size in sizes):
            raise TooComplexError
        return math.prod(size for size in sizes if isinstance(size, int))

    def _laid_out(self, read: Polynomial, value: ir.Value, axes: tuple[int, ...]) -> Polynomial:
        """`read`, laid out as `value` is: beside x, or in a shape of its own."""
        if value.shape is None:
            raise TooComplexError
        beside = same_shape(value.shape, kept_shape(self.x.shape, axes))
        return Polynomial(read.terms, None if beside else tuple(value.shape))

    def _view(self, node: ir.Node) -> Polynomial:
        read = self.read(node.inputs[0])
        value = node.outputs[0]
        axes = {each.axes for each in _moments_in(read)}
        opaque = any(isinstance(each, ir.Value) for term in read.terms for each, _ in term)
        if len(axes) != 1 or opaque:
            raise TooComplexError
        if node.op_type != "Expand":
            return self._laid_out(read, value, axes.pop())
        if read.layout is not None or not _may_stand_beside(value.shape, self.x.shape):
            raise TooComplexError
        return read


def limits_together(inner: tuple[float, float], outer: tuple[float, float]) -> tuple[float, float]:
    """(low, high) of what is clipped to `inner` and then to `outer`."""
    low, high = outer
    return min(max(inner[0], low), high), min(max(inner[1], low), high)


def bound(node: ir.Node) -> tuple[ir.Value | None, float, float, float, float]:
    """(inner value, low, high, slope, offset) of clip(slope * value + offset, low, high)."""
    if node.op_type == "Relu":
        return node.inputs[0], 0.0, math.inf, 1.0, 0.0
    if node.op_type == "HardSigmoid":
        slope, offset = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
        return node.inputs[0], 0.0, 1.0, float(slope), float(offset)  # type: ignore[arg-type]
    if node.op_type == "Clip":
        limits = [-math.inf, math.inf]
        for index, value in enumerate(node.inputs[1:3]):
            if value is not None:
                limit = constant_scalar(value)
                if limit is None:
                    raise TooComplexError
                limits[index] = _unlimited(limit)
        return node.inputs[0], limits[0], limits[1], 1.0, 0.0
    if len(node.inputs) != 2:
        raise TooComplexError
    for index in (0, 1):
        limit = constant_scalar(node.inputs[index])
        if limit is not None:
            inner = node.inputs[1 - index]
            if node.op_type == "Max":
                return inner, _unlimited(limit), math.inf, 1.0, 0.0
            return inner, -math.inf, _unlimited(limit), 1.0, 0.0
    raise TooComplexError


def _batch_scale(node: ir.Node) -> Polynomial:
    """scale / sqrt(var + epsilon) of a BatchNormalization, beside its input."""
    scale, _, _, variance = _batch_parameters(node)
    return polynomial.constant(scale / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5)))


def _batch_bias(node: ir.Node) -> Polynomial:
    """bias - mean * scale / sqrt(var + epsilon) of a BatchNormalization, beside its input."""
    _, bias, mean, _ = _batch_parameters(node)
    return polynomial.constant(bias) + polynomial.constant(mean).scaled(-1) * _batch_scale(node)


def _batch_parameters(node: ir.Node) -> list[np.ndarray]:
    """Scale, bias, mean and variance, laid out beside the input."""
    value = node.inputs[0]
    arrays = [constant_array(each) for each in node.inputs[1:5]]
    in_training = node.attributes.get_int("training_mode", 0)
    if value is None or value.shape is None or in_training:
        raise TooComplexError
    known = [each for each in arrays if each is not None]
    if len(known) != 4:
        raise TooComplexError
    return [each.reshape(-1, *[1] * (len(value.shape) - 2)) for each in known]


def _unlimited(limit: float) -> float:
    """Exporters write "no limit" as the largest float."""
    return math.copysign(math.inf, limit) if abs(limit) >= float(np.finfo(np.float32).max) else limit


def _is_never_negative(read: Polynomial) -> bool:
    """True for a mean square and a variance, which programs hold at 0 against rounding errors."""
    squares = [each for each in _moments_in(read) if each.power == 2]
    if len(squares) != 1:
        return False
    square, mean = squares[0], Moment(1, squares[0].axes)
    factor = read.scalar(monomial(square))
    if factor is None or factor <= 0:
        return False
    mean_square = {monomial(square): factor}
    return read.is_close(mean_square) or read.is_close({**mean_square, monomial((mean, 2)): -factor})


def _moments_in(read: Polynomial) -> Iterator[Moment]:
    for term in read.terms:
        for each, _ in term:
            if isinstance(each, Moment):
                yield each
            elif isinstance(each, Function):
                yield from _moments_in(each.argument)


def _may_stand_beside(shape: ir.Shape | None, x: ir.Shape | None) -> bool:
    """False where a tensor of `shape` is known not to broadcast to `x`."""
    if shape is None or x is None or len(shape) != len(x):
        return False
    return all(
        a in (1, b) or not (isinstance(a, int) and isinstance(b, int)) for a, b in zip(shape, x, strict=True)
    )


def _inverse(read: Polynomial) -> Polynomial:
    """1 / p; 1 / (1 + exp(p)) is sigmoid(-p)."""
    constant = read.scalar(polynomial.ONE)
    rest = [term for term in read.terms if term]
    if constant == 1 and len(rest) == 1 and read.scalar(rest[0]) == 1 and len(rest[0]) == 1:
        ((each, power),) = rest[0]
        if isinstance(each, Function) and each.name == "Exp" and power == 1:
            return each.argument.scaled(-1).of("Sigmoid")
    return read.inverse()


def _root(read: Polynomial) -> Polynomial:
    value = read.constant
    if value is None:
        return read.of("Sqrt")
    if (value < 0).any():
        raise TooComplexError
    return polynomial.constant(np.sqrt(value))


def _power(read: Polynomial, exponent: Polynomial) -> Polynomial:
    value = exponent.constant
    if value is None or value.size != 1:
        raise TooComplexError
    wanted = float(value.reshape(-1)[0])
    if wanted in (0.5, -0.5):
        return _root(read) if wanted > 0 else _inverse(_root(read))
    if wanted in (1, 2, 3, -1, -2):
        result = read
        for _ in range(int(abs(wanted)) - 1):
            result = result * read
        return result if wanted > 0 else _inverse(result)
    raise TooComplexError


def _sum(*parts: Polynomial) -> Polynomial:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


_ARITHMETIC: dict[str, Callable[..., Polynomial]] = {
    "Add": lambda a, b: a + b,
    "Cast": lambda a: a,
    "Div": lambda a, b: a * _inverse(b),
    "Mul": lambda a, b: a * b,
    "Neg": lambda a: a.scaled(-1),
    "Pow": _power,
    "Reciprocal": _inverse,
    "Sqrt": _root,
    "Sub": lambda a, b: a + b.scaled(-1),
    "Sum": _sum,
}
