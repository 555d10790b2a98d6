"""Targets of Reshape and Expand that a graph puts together from lengths become constants where an open length stays in place.

    Shape(x) -> ... -> Concat(length, 6, 2, -1) -> Reshape(x, .)

0 copies a length of x that stays in its place, and 1 leaves one to Expand. What follows is then known but for that length.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.operators import is_standard
from mpq_onnx.passes.fold_lengths import Length, lengths_of, shape_lengths

COPIED, LEFT, REST = 0, 1, -1
"""In targets: of Reshape, of Expand, and what Reshape works out itself."""
HANDED_ON = ("Unsqueeze", "Squeeze", "Identity")


class OwnLengthsPass(ir.passes.InPlacePass):
    """See the module. Targets that are constant already stay."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = False
        for node in tuple(model.graph):
            target = _target(node)
            if target is not None:
                constant = add_initializer(model.graph, f"{node.inputs[1].name}_known", target)  # type: ignore[union-attr]
                node.replace_input_with(1, constant)
                changed = True
        return ir.passes.PassResult(model, modified=changed)


def _target(node: ir.Node) -> np.ndarray | None:
    """The constant target of a Reshape or an Expand whose own is computed; None where it cannot be told."""
    if node.op_type not in TARGETS or not is_standard(node) or node.attributes.get_int("allowzero", 0) != 0:
        return None
    data, wanted = node.inputs[:2]
    if data is None or data.shape is None or wanted is None or wanted.const_value is not None:
        return None
    lengths = _numbers(wanted)
    own = _all_told(lengths_of(data.shape))
    found = None if lengths is None or own is None else TARGETS[node.op_type](lengths, own)
    return None if found is None else np.array(found, np.int64)


def _reshaped(wanted: list[Length], own: list[Length]) -> list[int] | None:
    found: list[int] = []
    for place, length in enumerate(wanted):
        if isinstance(length, int):
            found.append(length)
        elif place < len(own) and own[place] == length:
            found.append(COPIED)
        elif REST not in wanted and REST not in found:
            found.append(REST)
        else:
            return None
    return found


def _expanded(wanted: list[Length], own: list[Length]) -> list[int] | None:
    found: list[int] = []
    for place, length in enumerate(wanted):
        beside = place - len(wanted) + len(own)
        if isinstance(length, int):
            found.append(length)
        elif beside >= 0 and own[beside] == length:
            found.append(LEFT)
        else:
            return None
    return found


TARGETS: dict[str, Callable[[list[Length], list[Length]], list[int] | None]] = {
    "Reshape": _reshaped,
    "Expand": _expanded,
}


def _all_told(lengths: list[Length | None] | None) -> list[Length] | None:
    """None where one is open and has no name."""
    return None if lengths is None or None in lengths else lengths  # type: ignore[return-value]


def _numbers(value: ir.Value | None) -> list[Length] | None:
    """The elements of an integer vector that hangs on shapes and constants alone; None for another."""
    node = None if value is None else value.producer()
    if value is not None and value.const_value is not None:
        array = value.const_value.numpy()
        return [int(each) for each in array.reshape(-1)] if array.dtype.kind == "i" else None
    if node is None or not is_standard(node):
        return None
    if node.op_type in HANDED_ON:
        return _numbers(node.inputs[0])
    if node.op_type == "Concat":
        parts = [_numbers(each) for each in node.inputs]
        return None if None in parts else [length for part in parts for length in part or ()]
    return _of_shape(node)


def _of_shape(node: ir.Node) -> list[Length] | None:
    """What a Shape gives, or a Gather of it by constants."""
    if node.op_type == "Gather":
        lengths, places = _numbers(node.inputs[0]), _numbers(node.inputs[1])
        if lengths is None or places is None:
            return None
        picked = [each for each in places if isinstance(each, int) and -len(lengths) <= each < len(lengths)]
        return [lengths[each] for each in picked] if len(picked) == len(places) else None
    return _all_told(shape_lengths(node))
