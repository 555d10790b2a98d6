"""Multiply-accumulates: which operand is the weight, along which axis its output channels lie, how much is multiplied.

One analysis for quantizers, noise, sensitivities, hand-off and tables. An operand that depends on constants alone is the
weight, whichever side it stands on; of two activations, as in attention, the second counts as the one that is held.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.operators import RECURRENT_OPS, is_multiplier, is_standard

CONVOLUTIONS = ("Conv", "ConvTranspose")
BIAS_INPUT = 2
INPUT_WEIGHT, STATE_WEIGHT, GATE_BIAS = 1, 2, 3
"""Inputs of a recurrent layer: W [directions, gates * hidden, input], R [directions, gates * hidden, hidden] and B."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Mac:
    """One multiply-accumulate: a node, or one of the two weights of a recurrent layer (see RecurrentMac)."""

    node: ir.Node
    held_index: int
    """Which input is held: the weight."""
    is_constant: bool
    """The held operand depends on constants alone; False for a product of two activations."""

    @property
    def held(self) -> ir.Value:
        """The operand that is held."""
        return self.node.inputs[self.held_index]  # type: ignore[return-value]

    @property
    def data(self) -> ir.Value:
        """The operand that streams."""
        return self.node.inputs[1 - self.held_index]  # type: ignore[return-value]

    @property
    def is_weight(self) -> bool:
        """The held operand is a floating-point initializer."""
        dtype = self.held.dtype
        return self.held.const_value is not None and (dtype is None or dtype.is_floating_point())

    @property
    def is_fed_back(self) -> bool:
        """The operand that streams is the layer's own state, which stays in float inside the kernel."""
        return False

    @property
    def output(self) -> ir.Value:
        """What the node makes: the first output that anyone reads."""
        read = (value for value in self.node.outputs if value.uses() or value.is_graph_output())
        return next(read, self.node.outputs[0])

    @property
    def bias(self) -> ir.Value | None:
        """What is added; of any shape that broadcasts over the output."""
        has_one = self.node.op_type in (*CONVOLUTIONS, "Gemm") and len(self.node.inputs) > BIAS_INPUT
        return self.node.inputs[BIAS_INPUT] if has_one else None

    def added(self, held_shape: Shape) -> ir.Value | None:
        """The constant that an Add of its own gives to a product's output channels, which come last: its bias in all but name.

        None where there is none, where something else reads it or the product, and where the operator has a bias itself.
        """
        if self.node.op_type not in ("MatMul", "Einsum") or not self._channels_come_last(held_shape):
            return None
        readers = tuple(self.output.uses())
        if len(readers) != 1 or self.output.is_graph_output():
            return None
        reader = readers[0].node
        if reader.op_type != "Add" or not is_standard(reader):
            return None
        constants = [value for value in reader.inputs if value is not None and value.const_value is not None]
        if len(constants) != 1 or len(constants[0].uses()) != 1 or constants[0].is_graph_output():
            return None
        shape, channels = constants[0].const_value.shape.numpy(), self.channels(held_shape)  # type: ignore[union-attr]
        return constants[0] if shape[-1:] == (channels,) and math.prod(shape) == channels else None

    @property
    def alpha(self) -> float:
        """Factor on the products (Gemm)."""
        return self.node.attributes.get_float("alpha", 1.0) if self.node.op_type == "Gemm" else 1.0

    @property
    def group(self) -> int:
        """Of a convolution; 1 elsewhere."""
        return self.node.attributes.get_int("group", 1) if self.node.op_type in CONVOLUTIONS else 1

    def channel_axis(self, held_shape: Shape) -> int | None:
        """Axis of the held operand that runs over output channels (of a group, for ConvTranspose); None where there is none."""
        op_type, rank = self.node.op_type, len(held_shape)
        if op_type == "ConvTranspose":
            # Depthwise: rows are groups, and groups are output channels.
            return 0 if self.group > 1 and held_shape[:2] == (self.group, 1) else 1
        if op_type == "Conv":
            return 0
        if op_type == "Einsum":
            return _free_axis(self, held_shape)
        if rank < 2:
            return None
        last = self.held_index == 1
        if op_type == "Gemm" and self._flag("transB" if last else "transA"):
            last = not last
        return rank - 1 if last else rank - 2

    def channels(self, held_shape: Shape) -> int:
        """Output channels that a vector over `channel_axis` of the whole output has; 1 where there is no such axis."""
        axis = self.channel_axis(held_shape)
        return 1 if axis is None else held_shape[axis] * self.repeats(held_shape)

    def repeats(self, held_shape: Shape) -> int:
        """How often the channels along `channel_axis` occur in the output: once a group of a ConvTranspose."""
        grouped = self.node.op_type == "ConvTranspose" and self.channel_axis(held_shape) == 1
        return self.group if grouped else 1

    def fan_in(self, shape_of: Callable[[ir.Value], Shape]) -> int:
        """D: products summed up in one output."""
        first, second = (shape_of(value) for value in self._operands)
        op_type = self.node.op_type
        if op_type == "Conv":
            return math.prod(second[1:])
        if op_type == "ConvTranspose":
            # Of the kernel's k taps along an axis, those that meet in one output are s / gcd(s, d) apart.
            kernel = second[2:]
            strides = self.node.attributes.get_ints("strides", [1] * len(kernel))
            dilations = self.node.attributes.get_ints("dilations", [1] * len(kernel))
            taps = (-(-k * math.gcd(s, d) // s) for k, s, d in zip(kernel, strides, dilations, strict=True))
            return second[0] // self.group * math.prod(taps)
        if op_type == "Einsum":
            result = einsum_labels(self.node)[1]
            return math.prod(n for label, n in self._lengths(first, second).items() if label not in result)
        return first[0] if op_type == "Gemm" and self._flag("transA") else first[-1]

    def macs(self, shape_of: Callable[[ir.Value], Shape]) -> int:
        """Multiply-accumulates; for one example where `shape_of` gives the shapes of one."""
        if self.node.op_type == "ConvTranspose":  # each input element meets the whole kernel of its group
            return math.prod(shape_of(self.data)) * math.prod(shape_of(self.held)[1:])
        return math.prod(shape_of(self.output)) * self.fan_in(shape_of)

    def _channels_come_last(self, held_shape: Shape) -> bool:
        """Of the output of a MatMul or an Einsum."""
        if self.node.op_type == "MatMul":
            return self.held_index == 1
        terms, result = einsum_labels(self.node)
        axis = self.channel_axis(held_shape)
        return axis is not None and terms[self.held_index][axis] == result[-1:]

    def _flag(self, name: str) -> bool:
        """An integer attribute that is 0 by default."""
        return self.node.attributes.get_int(name, 0) != 0

    @property
    def _operands(self) -> tuple[ir.Value, ir.Value]:
        first, second = self.node.inputs[:2]
        assert first is not None and second is not None
        return first, second

    def _lengths(self, first: Shape, second: Shape) -> dict[str, int]:
        """Of every label of an Einsum."""
        terms, _ = einsum_labels(self.node)
        lengths: dict[str, int] = {}
        for labels, shape in zip(terms, (first, second), strict=True):
            lengths.update(zip(labels, shape, strict=True))
        return lengths


@dataclass(frozen=True)
class RecurrentMac(Mac):
    """One weight of an LSTM, GRU or RNN: W meets the input of every time, R the hidden state of the time before.

    Its output channels are rows of gates: the layer's own output has other axes, and its bias goes to the sum of both products.
    """

    @property
    def data(self) -> ir.Value:
        return self.output if self.is_fed_back else self.node.inputs[0]  # type: ignore[return-value]

    @property
    def is_fed_back(self) -> bool:
        return self.held_index == STATE_WEIGHT

    @property
    def bias(self) -> ir.Value | None:
        """Both biases in one tensor [directions, 2 * gates * hidden]; it counts with W."""
        has_one = self.held_index == INPUT_WEIGHT and len(self.node.inputs) > GATE_BIAS
        return self.node.inputs[GATE_BIAS] if has_one else None

    def channel_axis(self, held_shape: Shape) -> int | None:
        return 1

    def channels(self, held_shape: Shape) -> int:
        return held_shape[1]

    def fan_in(self, shape_of: Callable[[ir.Value], Shape]) -> int:
        return shape_of(self.held)[2]

    def macs(self, shape_of: Callable[[ir.Value], Shape]) -> int:
        """The whole weight at every time."""
        times = math.prod(shape_of(self.node.inputs[0])[:2])  # type: ignore[arg-type]
        return times * math.prod(shape_of(self.held))


def macs_of_node(node: ir.Node) -> tuple[Mac, ...]:
    """The multiply-accumulates of `node`: none, one, or the two of a recurrent layer."""
    if node.op_type in RECURRENT_OPS and is_standard(node):
        weights = ((index, node.inputs[index]) for index in (INPUT_WEIGHT, STATE_WEIGHT))
        return tuple(
            RecurrentMac(node, index, is_stored(held))
            for index, held in weights
            if held is not None and not _is_void(held)
        )
    found = mac_of(node)
    return () if found is None else (found,)


def mac_of(node: ir.Node) -> Mac | None:
    """The facts of a node that multiplies two operands.

    None where `node` is another, and where it multiplies no activation or nothing at all: by a weight without elements.
    """
    if not is_multiplier(node) or node.op_type in RECURRENT_OPS:
        return None
    if len(node.inputs) < 2 or node.inputs[0] is None or node.inputs[1] is None:
        return None
    if node.op_type == "Einsum" and len(node.inputs) != 2:
        return None
    operands = [value for value in node.inputs[:2] if value is not None]
    stored = [is_stored(value) for value in operands]
    if all(stored) or any(map(_is_void, operands)):
        return None
    swapped = stored[0] and node.op_type not in CONVOLUTIONS
    return Mac(node, 0 if swapped else 1, stored[0 if swapped else 1])


def _is_void(value: ir.Value) -> bool:
    """A constant without elements: what is multiplied by it costs nothing, and is empty or zero."""
    return value.const_value is not None and value.const_value.size == 0


def macs_of(graph: ir.Graph) -> Iterator[Mac]:
    """All multiply-accumulates of a graph in its order, subgraphs left out."""
    for node in graph:
        yield from macs_of_node(node)


def weight_input(node: ir.Node) -> int | None:
    """Index of the floating-point initializer that is the weight of a multiply-accumulate; None where there is none."""
    found = mac_of(node)
    return found.held_index if found is not None and found.is_weight else None


def channel_axis(node: ir.Node) -> int:
    """Axis of the constant weight of a multiply-accumulate node that runs over output channels; the node has one."""
    found = mac_of(node)
    assert found is not None and found.held.const_value is not None
    axis = found.channel_axis(tuple(found.held.const_value.shape.numpy()))
    assert axis is not None
    return axis


def is_stored(value: ir.Value) -> bool:
    """True where `value` depends on constants alone: an initializer, or one read back through DequantizeLinear and the like."""
    waiting, seen = [value], {value}
    while waiting:
        current = waiting.pop()
        if current.const_value is not None:
            continue
        producer = current.producer()
        if producer is None or not any(each is not None for each in producer.inputs):
            if producer is not None and producer.op_type == "Constant":
                continue
            return False
        sources = {each for each in producer.inputs if each is not None} - seen
        seen |= sources
        waiting.extend(sources)
    return True


def einsum_labels(node: ir.Node) -> tuple[list[str], str]:
    """(labels of every operand, labels of the result).

    Raises:
        ModelError: labels that are not written out.
    """
    equation = node.attributes["equation"].as_string()
    if "." in equation or "->" not in equation:
        raise ModelError(
            f"node {node.name} (Einsum {equation.replace(' ', '')}): write the output's labels out, without an ellipsis"
        )
    return split_equation(equation)


def split_equation(equation: str) -> tuple[list[str], str]:
    """(labels of every operand, labels of the result) of an Einsum's equation; none of the result where it is not written."""
    terms, _, result = equation.replace(" ", "").partition("->")
    return terms.split(","), result


def _free_axis(mac: Mac, held_shape: Shape) -> int | None:
    """Of an Einsum's held operand: the longest axis that is an axis of the result and none of the data."""
    terms, result = einsum_labels(mac.node)
    held, data = terms[mac.held_index], terms[1 - mac.held_index]
    free = [axis for axis, label in enumerate(held) if label in result and label not in data]
    return max(free, key=lambda axis: held_shape[axis], default=None)
