"""What is rounded behind another node: outputs that the next one changes by constants alone, inputs that are normalized.

Features of unlike units, spectra, pixels with a mean: one step for all of an input, before its mean is taken away and its
deviation divided by, leaves most of it no levels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.graph.operators import (
    COMPARISONS,
    SHAPE_READERS,
    TABLE_LOOKUPS,
    is_bookkeeping,
    is_constant,
    is_float,
    is_pass_through,
    is_standard,
)
from mpq_onnx.graph.placement.graph_roles import CASTS, fused_into, is_compressed, is_constant_affine

Makers = Mapping[str, tuple[tuple[str, str], ...]]
"""(name, operator) of all that is rounded behind a node, by that node's name; inputs have the operator INPUT."""
INPUT = "Input"
PICKING = ("Gather", "Slice", "Split")
"""What takes features out of an input: those that are read as they are have a step of their own beside normalized ones."""


@dataclass(frozen=True)
class EnteringInputs:
    """The inputs that readers normalize."""

    ends: Mapping[str, tuple[ir.Node, ...]]
    """The nodes whose outputs are rounded instead, by the input's name."""
    direct: Mapping[str, tuple[str, ...]]
    """The nodes that read such an input as it is, by its name: it has a quantizer for them alone."""
    between: frozenset[ir.Node]
    """What lies between an input and its ends, and has no quantizer either, though others of its kind have."""

    def is_end(self, node: ir.Node) -> bool:
        return any(node in ends for ends in self.ends.values())


def entering_inputs(model: ir.Model) -> EnteringInputs:
    """The inputs some of whose readers normalize them: by constants, a root or a logarithm, also behind what passes values on,
    limits them or puts inputs side by side. Readers of indices, comparisons and shapes read the input itself."""
    ends: dict[str, tuple[ir.Node, ...]] = {}
    direct: dict[str, tuple[str, ...]] = {}
    between: set[ir.Node] = set()
    for value in model.graph.inputs:
        paths = {use.node: _path(use.node, use.idx) for use in value.uses()}
        found = _Path()
        for path in filter(None, paths.values()):
            found = found.and_also(path)
        if not found.ends:
            continue
        as_it_is = [node for node, path in paths.items() if path is None]
        parts = tuple(node for node in as_it_is if node.op_type in PICKING)
        ends[str(value.name)] = (*found.ends, *parts)
        direct[str(value.name)] = tuple(str(node.name) for node in as_it_is if node not in parts)
        between.update(found.between)
    return EnteringInputs(ends, direct, frozenset(between))


def fused_end(node: ir.Node) -> ir.Node | None:
    """The last of the nodes that are applied to this one's output before anything is rounded; None where it is itself."""
    end = fused_into(node)
    while end is not None and (more := fused_into(end)) is not None:
        end = more
    return end


def makers_of(model: ir.Model) -> Makers:
    """See Makers."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for end, maker in _pairs(model):
        found[str(end.name)] = (*found.get(str(end.name), ()), maker)
    return found


def _pairs(model: ir.Model) -> Iterator[tuple[ir.Node, tuple[str, str]]]:
    for name, ends in entering_inputs(model).ends.items():
        yield from ((end, (name, INPUT)) for end in ends)
    for node in model.graph:
        end = fused_end(node)
        if end is not None:
            yield end, (str(node.name), node.op_type)


@dataclass(frozen=True)
class _Path:
    """From a reader of an input to what normalizes it."""

    ends: tuple[ir.Node, ...] = ()
    """Empty for a reader that needs the exact numbers."""
    between: tuple[ir.Node, ...] = ()

    def and_also(self, other: "_Path") -> "_Path":
        return _Path(tuple(dict.fromkeys((*self.ends, *other.ends))), (*self.between, *other.between))


def _path(node: ir.Node, index: int) -> _Path | None:
    """None where `node`, or what it passes its operand on to, reads it as it is."""
    if _reads_exactly(node, index):
        return _Path()
    if _normalizes(node):
        *between, end = chain = _normalizing(node)
        # A sum with constants of several axes alone, such as embeddings of positions, brings nothing to one scale.
        if any(_fits_channels(each) or each.op_type in ("Mul", "Div") for each in chain):
            return _Path((end,), tuple(between))
    limits = _limits(node, index)
    if not (limits or (_passes_on(node) and index == 0) or _joins_what_is_given(node)):
        return None
    found = _Path()
    for use in node.outputs[0].uses():
        path = _path(use.node, use.idx)
        if path is None:
            return None
        found = found.and_also(path)
    has_quantizer = limits or node.op_type in CASTS
    return found.and_also(_Path((), (node,))) if found.ends and has_quantizer else found


def _reads_exactly(node: ir.Node, index: int) -> bool:
    """A shape, a comparison, an index, or whole numbers are made of it."""
    if node.op_type in SHAPE_READERS or node.op_type in COMPARISONS or is_bookkeeping(node, index):
        return True
    return node.op_type in CASTS and not is_float(node.outputs[0])


def _normalizes(node: ir.Node) -> bool:
    """By constants of any shape, such as a mean of every pixel, or a root or logarithm."""
    if _fits_channels(node):
        return True
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or not is_standard(node):
        return False
    constants = [is_constant(value) for value in node.inputs]
    return sum(constants) == 1 and not (node.op_type == "Div" and constants[0])


def _fits_channels(node: ir.Node) -> bool:
    return is_constant_affine(node) or is_compressed(node)


def _normalizing(node: ir.Node) -> list[ir.Node]:
    """`node`, and all that follow it before anything is rounded; the last is the end."""
    chain = [node]
    while True:
        behind = fused_end(chain[-1])
        if behind is None:
            uses = [use for use in chain[-1].outputs[0].uses() if use.node.op_type not in SHAPE_READERS]
            alone = len(uses) == 1 and not chain[-1].outputs[0].is_graph_output()
            behind = uses[0].node if alone and _normalizes(uses[0].node) else None
        if behind is None:
            return chain
        chain.append(behind)


def _limits(node: ir.Node, index: int) -> bool:
    """Cuts an input off at constants or at zero, or puts a constant in the place of some of its numbers."""
    if not is_standard(node) or node.op_type not in ("Abs", "Clip", "Max", "Min", "Relu", "Where"):
        return False
    first = 1 if node.op_type == "Where" else 0  # what its condition is made of, it reads exactly
    others = [value for place, value in enumerate(node.inputs) if place >= first and place != index]
    return index >= first and all(value is None or is_constant(value) for value in others)


def _passes_on(node: ir.Node) -> bool:
    return is_pass_through(node) or (node.op_type in CASTS and is_float(node.outputs[0]))


def _joins_what_is_given(node: ir.Node) -> bool:
    """A Concat of inputs, constants, rows of tables and marks of classes: nothing that is computed is rounded behind it."""
    return node.op_type == "Concat" and is_standard(node) and all(_is_given(value) for value in node.inputs)


def _is_given(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    if (
        node is None
        or node.op_type == "OneHot"
        or (node.op_type in TABLE_LOOKUPS and is_constant(node.inputs[0]))
    ):
        return True
    return _passes_on(node) and _is_given(node.inputs[0])
