"""Sequences of tensors whose length is known become the tensors themselves, where something reads them.

    SequenceEmpty -> SequenceInsert(., a) -> SequenceInsert(., b) -> ConcatFromSequence    ->    Concat(a, b)

Scripted networks collect the states of a loop in such lists, which are known once the loop is written out. onnxscript's folding
knows those of SequenceConstruct alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_constant, is_standard

Tensors = tuple[ir.Value, ...]
"""What a sequence holds, in order."""
ABSENT, LENGTH_OF_ONE = -1, 1
LARGEST_SEQUENCE = 2**12
"""Tensors that a SplitToSequence may become: one node reads each of them."""


class SequencesPass(ir.passes.InPlacePass):
    """In all graphs; what reads a sequence that is not wholly known stays."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        sequences = _Sequences(model.graph)
        replaced = [_replace(sequences, node) for node in tuple(model.graph.all_nodes()) if is_standard(node)]
        return ir.passes.PassResult(model, modified=any(replaced))


@dataclass
class _Sequences:
    """What is known of a model's sequences, its nodes met in order."""

    main: ir.Graph
    known: dict[ir.Value, Tensors] = field(default_factory=dict)
    unsplit: dict[ir.Value, "_Parts"] = field(default_factory=dict)
    """Those that a SplitToSequence makes, whose tensors do not stand in the graph until somebody asks for them."""

    def length(self, value: ir.Value | None) -> int | None:
        """How many tensors a sequence holds; None where that is not known."""
        if value in self.unsplit:
            return len(self.unsplit[value].sizes)
        return len(self.known[value]) if value in self.known else None

    def tensors(self, value: ir.Value | None) -> Tensors | None:
        """What a sequence holds; None where that is not known."""
        if value in self.unsplit:
            self.known[value] = self.unsplit.pop(value).split(self.main)
        return None if value is None else self.known.get(value)


@dataclass(frozen=True)
class _Parts:
    """What a SplitToSequence makes."""

    node: ir.Node
    axis: int
    sizes: tuple[int, ...]
    """Lengths along the axis."""
    keeps_axis: bool

    def split(self, main: ir.Graph) -> Tensors:
        """The same tensors out of a Split in front of the node."""
        data, name = self.node.inputs[0], self.node.outputs[0].name
        sizes = add_initializer(main, f"{name}_sizes", np.array(self.sizes, np.int64))
        node = ir.node("Split", [data, sizes], {"axis": self.axis}, num_outputs=len(self.sizes))
        parts = tuple(_put_before(main, self.node, node, f"{name}_split"))
        if self.keeps_axis:
            return parts
        axes = add_initializer(main, f"{name}_axes", np.array([self.axis], np.int64))
        squeezes = [ir.node("Squeeze", [part, axes]) for part in parts]
        return tuple(_put_before(main, self.node, each, f"{name}_squeezed")[0] for each in squeezes)


def _put_before(main: ir.Graph, place: ir.Node, node: ir.Node, wanted: str) -> Tensors:
    """The outputs of `node`, put in front of `place` under new names like `wanted`."""
    node.name = fresh_node_name(main, wanted)
    for value in node.outputs:
        value.name = fresh_name(main, wanted)
    assert place.graph is not None
    place.graph.insert_before(place, node)
    return tuple(node.outputs)


def _replace(sequences: _Sequences, node: ir.Node) -> bool:
    """Note the sequence that `node` makes, or put a tensor in the place of what it reads out of one; whether it did so."""
    if node.op_type in MAKERS:
        made = MAKERS[node.op_type](sequences, node)
        if made is not None:
            sequences.known[node.outputs[0]] = made
    elif node.op_type == "SplitToSequence":
        parts = _parts(node)
        if parts is not None:
            sequences.unsplit[node.outputs[0]] = parts
    elif node.op_type in READERS:
        found = READERS[node.op_type](sequences, node)
        if found is not None:
            _take_over(sequences.main, node, found)
        return found is not None
    return False


def _take_over(main: ir.Graph, node: ir.Node, found: ir.Value) -> None:
    """Let everybody read `found`; an Identity gives it out where the model does."""
    old = node.outputs[0]
    same = ir.node("Identity", [found], name=node.name)
    assert node.graph is not None
    ir.convenience.replace_nodes_and_values(node.graph, node, [node], [same], [old], list(same.outputs))


def _empty(_: _Sequences, __: ir.Node) -> Tensors:
    return ()


def _constructed(_: _Sequences, node: ir.Node) -> Tensors | None:
    tensors = tuple(value for value in node.inputs if value is not None)
    return tensors if len(tensors) == len(node.inputs) else None


def _same(sequences: _Sequences, node: ir.Node) -> Tensors | None:
    return sequences.tensors(node.inputs[0])


def _inserted(sequences: _Sequences, node: ir.Node) -> Tensors | None:
    """Behind the last one, or in front of the one at a position."""
    before, added = sequences.tensors(node.inputs[0]), node.inputs[1]
    place = None if before is None else _position(node, 2, len(before), len(before))
    if before is None or added is None or place is None or not 0 <= place <= len(before):
        return None
    return (*before[:place], added, *before[place:])


def _erased(sequences: _Sequences, node: ir.Node) -> Tensors | None:
    """Without the last one, or the one at a position."""
    before = sequences.tensors(node.inputs[0])
    place = None if before is None else _position(node, 1, len(before), len(before) - 1)
    if before is None or place is None or not 0 <= place < len(before):
        return None
    return (*before[:place], *before[place + 1 :])


def _position(node: ir.Node, index: int, length: int, usual: int) -> int | None:
    """The place, from 0, that input `index` tells in a sequence of `length`.

    `usual` where it is absent; None where it is computed.
    """
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None:
        return usual
    numbers = _numbers(value)
    if numbers is None or len(numbers) != 1:
        return None
    return numbers[0] + length if numbers[0] < 0 else numbers[0]


def _numbers(value: ir.Value) -> list[int] | None:
    """The elements of a constant; None for another value."""
    tensor = value.const_value
    return None if tensor is None else [int(each) for each in tensor.numpy().reshape(-1)]


def _parts(node: ir.Node) -> _Parts | None:
    """None where the lengths are not known, or are more than anybody would read."""
    data, split = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    axis, keeps = node.attributes.get_int("axis", 0), node.attributes.get_int("keepdims", 1) == 1
    if data is None or (split is not None and not is_constant(split)):
        return None
    length = _length_along(data, axis)
    array = np.array(LENGTH_OF_ONE) if split is None else split.const_value.numpy()  # type: ignore[union-attr]
    if array.ndim:
        sizes = [int(size) for size in array]
    elif length is not None and array > 0:
        whole, rest = divmod(length, int(array))
        sizes = [int(array)] * whole + [rest] * (rest > 0)
    else:
        return None
    if not 0 < len(sizes) <= LARGEST_SEQUENCE:
        return None
    return _Parts(node, axis, tuple(sizes), keeps or split is not None)


def _length_along(value: ir.Value, axis: int) -> int | None:
    shape = value.shape
    if shape is None or not -len(shape) <= axis < len(shape):
        return None
    length = shape[axis]
    return length if isinstance(length, int) else None


def _at(sequences: _Sequences, node: ir.Node) -> ir.Value | None:
    length = sequences.length(node.inputs[0])
    place = None if length is None else _position(node, 1, length, ABSENT)
    if length is None or place is None or not 0 <= place < length:
        return None
    tensors = sequences.tensors(node.inputs[0])
    return None if tensors is None else tensors[place]


def _length(sequences: _Sequences, node: ir.Node) -> ir.Value | None:
    length = sequences.length(node.inputs[0])
    if length is None:
        return None
    return add_initializer(sequences.main, f"{node.outputs[0].name}_known", np.array(length, np.int64))


def _concatenated(sequences: _Sequences, node: ir.Node) -> ir.Value | None:
    """Side by side along an axis that they have, or a new one."""
    tensors = sequences.tensors(node.inputs[0])
    if not tensors:
        return None
    main, name, axis = sequences.main, node.outputs[0].name, node.attributes["axis"].as_int()
    if node.attributes.get_int("new_axis", 0) == 1:
        axes = add_initializer(main, f"{name}_axes", np.array([axis], np.int64))
        rows = [ir.node("Unsqueeze", [tensor, axes]) for tensor in tensors]
        tensors = tuple(_put_before(main, node, row, f"{name}_row")[0] for row in rows)
    joined = ir.node("Concat", list(tensors), {"axis": axis})
    return _put_before(main, node, joined, f"{name}_joined")[0]


MAKERS: Mapping[str, Callable[[_Sequences, ir.Node], Tensors | None]] = {
    "SequenceEmpty": _empty,
    "SequenceConstruct": _constructed,
    "SequenceInsert": _inserted,
    "SequenceErase": _erased,
    "Identity": _same,
}
"""What a node's sequence holds."""
READERS: Mapping[str, Callable[[_Sequences, ir.Node], ir.Value | None]] = {
    "SequenceAt": _at,
    "SequenceLength": _length,
    "ConcatFromSequence": _concatenated,
}
"""What a node reads out of a sequence, as a tensor; None where it is not known."""
