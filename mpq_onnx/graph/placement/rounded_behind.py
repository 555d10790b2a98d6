"""What is rounded behind another node: outputs that the next one changes by constants alone, inputs that are normalized.

Features of unlike units, spectra, pixels with a mean: one step for all of an input, before its mean is taken away and its
deviation divided by, leaves most of it no levels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.graph.operators import (
    SHAPE_READERS,
    TABLE_LOOKUPS,
    is_constant,
    is_float,
    is_pass_through,
    is_standard,
)
from mpq_onnx.graph.placement.graph_roles import CASTS, fused_into, is_compressed, is_constant_affine

Makers = Mapping[str, tuple[tuple[str, str], ...]]
"""(name, operator) of all that is rounded behind a node, by that node's name; inputs have the operator INPUT."""
INPUT = "Input"


@dataclass(frozen=True)
class EnteringInputs:
    """The inputs that have no quantizer of their own."""

    ends: Mapping[str, tuple[ir.Node, ...]]
    """The nodes whose outputs are rounded instead, by the input's name."""
    casts: frozenset[ir.Node]
    """What lies between, and has no quantizer either."""

    def is_end(self, node: ir.Node) -> bool:
        return any(node in ends for ends in self.ends.values())


def entering_inputs(model: ir.Model) -> EnteringInputs:
    """The inputs whose readers all normalize them: by constants, a root or a logarithm, also behind what passes values on
    or puts inputs side by side."""
    ends: dict[str, tuple[ir.Node, ...]] = {}
    casts: set[ir.Node] = set()
    for value in model.graph.inputs:
        passed: list[ir.Node] = []
        found = _normalizing(value, passed)
        if found:
            ends[str(value.name)] = tuple(dict.fromkeys(fused_end(node) or node for node in found))
            casts.update(node for node in passed if node.op_type in CASTS)
    return EnteringInputs(ends, frozenset(casts))


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


def _normalizing(value: ir.Value, passed: list[ir.Node]) -> list[ir.Node]:
    """All readers of an input; none where one of them reads it as it is. `passed` takes those that pass it on."""
    if value.is_graph_output():
        return []
    found = []
    for use in value.uses():
        node = use.node
        if node.op_type in SHAPE_READERS:
            continue
        if is_constant_affine(node) or is_compressed(node):
            found.append(node)
            continue
        passes = (_passes_on(node) and use.idx == 0) or _joins_what_is_given(node)
        behind = _normalizing(node.outputs[0], passed) if passes else []
        if not behind:
            return []
        passed.append(node)
        found += behind
    return found


def _passes_on(node: ir.Node) -> bool:
    return is_pass_through(node) or (node.op_type in CASTS and is_float(node.outputs[0]))


def _joins_what_is_given(node: ir.Node) -> bool:
    """A Concat of inputs, constants and rows of tables alone: nothing that is computed is rounded behind it."""
    return node.op_type == "Concat" and is_standard(node) and all(_is_given(value) for value in node.inputs)


def _is_given(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    if node is None or (node.op_type in TABLE_LOOKUPS and is_constant(node.inputs[0])):
        return True
    return _passes_on(node) and _is_given(node.inputs[0])
