"""Loops that run a number of times which constants and static shapes tell, written out: no data decides what they compute.

    Loop(4, true, state; body) -> body_0(state) -> body_1(.) -> body_2(.) -> body_3(.)

A Scan likewise, its trips picking their parts out of what it goes along. What the body reads from around it, such as weights,
all trips read.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.operators import is_standard
from mpq_onnx.graph.post_processing import multiplied_values
from mpq_onnx.graph.uncounted import multiplies
from mpq_onnx.passes.loop_trips import CARRIED, COUNTERS, body_of, scanned, trips_of
from mpq_onnx.passes.writing_out import Builder, Written, write_out

MOST_NODES = 2**12
"""What the loops of a model may become in all: a file of more takes minutes to read, and nobody reads its tables."""


class UnrollLoopsPass(ir.passes.InPlacePass):
    """Loop and Scan of the main graph with a product inside or behind; the others stay, in post-processing above all.

    One pass object works on one model: it keeps how many nodes it may still make. A loop inside a loop has its turn when the
    pass is called again, after constants are folded, as its trips may hang on those of the outer one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._left = MOST_NODES

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        multiplied = multiplied_values(model.graph)
        found = [node for node in model.graph if is_loop(node) and _is_multiplied(node, multiplied)]
        modified = [self._unroll(model.graph, node) for node in found]
        return ir.passes.PassResult(model, modified=any(modified))

    def _unroll(self, graph: ir.Graph, node: ir.Node) -> bool:
        count = trips_of(graph, node).count
        if count is None or (made := count * _size(node)) > self._left:
            return False
        self._left -= made
        write_out(_LoopBuilder(graph, node), lambda builder: UNROLLED[node.op_type](builder, count))
        return True


def is_loop(node: ir.Node) -> bool:
    """Whether a node is a Loop or a Scan."""
    return node.op_type in COUNTERS and is_standard(node)


def why_it_stays(graph: ir.Graph, node: ir.Node) -> str:
    """Why a loop of a canonical model is not written out, and what helps.

    Args:
        graph: the model's main graph.
    """
    trips = trips_of(graph, node)
    if not _is_multiplied(node, multiplied_values(graph)):
        return "no product is in it or behind it, and such loops stay as they are"
    if trips.count is None:
        return f"it is not written out, as {trips.reason}"
    return (
        f"written out, its {trips.count} trips and those of other loops would be more than {MOST_NODES} nodes"
    )


def _is_multiplied(node: ir.Node, multiplied: Collection[ir.Value]) -> bool:
    """Whether a loop multiplies itself, or makes some of what others do: `multiplied`."""
    return multiplies(node) or any(value in multiplied for value in node.outputs)


def _size(node: ir.Node) -> int:
    """The nodes of a trip."""
    return sum(1 for _ in body_of(node).all_nodes())


@dataclass
class _LoopBuilder(Builder):
    """Collects the nodes of all trips."""

    shared: dict[str, ir.Value] = field(default_factory=dict)
    """Initializers of the body as initializers of the model, by their name in the body."""

    def trip(self, number: int, given: Sequence[ir.Value]) -> list[ir.Value]:
        """What the body gives out where it is given these values; its nodes are called after the loop and `number`."""
        copy = body_of(self.node).clone(allow_outer_scope_values=True)
        outer = {value: self._shared(name, value) for name, value in copy.initializers.items()}
        outer |= dict(zip(copy.inputs, given, strict=True))
        results = [outer.get(value, value) for value in copy.outputs]
        copy.outputs.clear()
        self._rename(number, copy)
        for inner, value in outer.items():
            inner.replace_all_uses_with(value)
        nodes = list(copy)
        copy.remove(nodes)
        self.nodes += nodes
        return results

    def number(self, number: int) -> ir.Value:
        """A constant int64 scalar."""
        return self.constant("number", np.array(number, np.int64))

    def collected(self, rows: Sequence[ir.Value], axis: int, backwards: bool) -> ir.Value:
        """One tensor of what all trips gave out, side by side along a new axis, the last trip first where `backwards`."""
        axes = self.constant("axes", np.array([axis], np.int64))
        parts = [self.op("Unsqueeze", row, axes) for row in rows]
        return self.op("Concat", *(reversed(parts) if backwards else parts), axis=axis)

    def results(self, values: Sequence[ir.Value]) -> Written:
        """Outputs that are the loop's own: they get its outputs' names."""
        made, taken = {value for node in self.nodes for value in node.outputs}, set()
        found = []
        for value in values:
            own = value in made and value not in taken
            taken.add(value)
            found.append(value if own else self.op("Identity", value))
        return found

    def _shared(self, name: str, value: ir.Value) -> ir.Value:
        if name not in self.shared:
            full = fresh_name(self.main, f"{self._prefix}_{name}")
            self.shared[name] = ir.Value(
                name=full, shape=value.shape, type=value.type, const_value=value.const_value
            )
            self.constants.append(self.shared[name])
        return self.shared[name]

    def _rename(self, number: int, copy: ir.Graph) -> None:
        """Names that nothing else has. Shapes are inferred anew: an open length may differ from trip to trip."""
        prefix = f"{self._prefix}_{number}"
        for node in copy.all_nodes():
            node.name = fresh_node_name(self.main, f"{prefix}_{node.name}")
            for value in node.outputs:
                value.shape = None
                if value.name:
                    value.name = fresh_name(self.main, f"{prefix}_{value.name}")
        for graph in copy.subgraphs():
            for value in (*graph.inputs, *graph.initializers.values()):
                value.name = fresh_name(self.main, f"{prefix}_{value.name}")


def _loop(builder: _LoopBuilder, count: int) -> Written:
    """What a Loop gives out: carried values, then what it collects along a new first axis."""
    state = [value for value in builder.node.inputs[CARRIED:] if value is not None]
    goes_on = builder.constant("goes_on", np.array(True))
    rows = []
    for number in range(count):
        _, *given = builder.trip(number, [builder.number(number), goes_on, *state])
        state, row = given[: len(state)], given[len(state) :]
        rows.append(row)
    return builder.results([*state, *(builder.collected(each, 0, False) for each in zip(*rows, strict=True))])


def _scan(builder: _LoopBuilder, count: int) -> Written:
    """What a Scan gives out: its states, then what it collects."""
    form, inputs = scanned(builder.node), [value for value in builder.node.inputs if value is not None]
    state, sequences = inputs[: form.states], inputs[form.states :]
    rows = []
    for number in range(count):
        ahead, behind = builder.number(number), builder.number(count - 1 - number)
        parts = [
            builder.named(
                f"{number}_{value.name}", "Gather", value, behind if backwards else ahead, axis=axis
            )
            for value, axis, backwards in zip(sequences, form.input_axes, form.input_backwards, strict=True)
        ]
        given = builder.trip(number, [*state, *parts])
        state, row = given[: form.states], given[form.states :]
        rows.append(row)
    collected = zip(zip(*rows, strict=True), form.output_axes, form.output_backwards, strict=True)
    return builder.results([*state, *(builder.collected(*each) for each in collected)])


UNROLLED: dict[str, Callable[[_LoopBuilder, int], Written]] = {"Loop": _loop, "Scan": _scan}
