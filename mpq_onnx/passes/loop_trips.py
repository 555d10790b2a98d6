"""How often a Loop or a Scan runs, where nothing but constants and static shapes decides that."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir

from mpq_onnx.graph.operators import RANDOM, STANDARD_DOMAINS, is_constant
from mpq_onnx.graph.uncounted import bodies
from mpq_onnx.passes.constant_session import constant_session
from mpq_onnx.passes.parts_of_branches import names_read, nodes_within, part_of

MOST_TRIPS = 2**13
"""More are not counted."""
SET = "where an input or an open length decides that, `mpq-onnx export --set NAME=VALUE` fixes it"
NUMBER, CONDITION, CARRIED = 0, 1, 2
"""Inputs of a Loop's body: the trip's number, whether the loop goes on, and the first carried value. Of a Loop itself: the
trip count, the first condition, and the first carried value."""


@dataclass(frozen=True)
class Trips:
    """What is known of a loop."""

    count: int | None
    reason: str = ""
    """Why the count is not known; empty where it is."""


def trips_of(graph: ir.Graph, node: ir.Node) -> Trips:
    """How often `node`, a Loop or a Scan of canonical opset, runs its body.

    Args:
        graph: the model's main graph.
    """
    return COUNTERS[node.op_type](graph, node)


def body_of(node: ir.Node) -> ir.Graph:
    """What a Loop or a Scan runs."""
    return node.attributes["body"].as_graph()


@dataclass(frozen=True)
class Scanned:
    """The inputs and outputs that a Scan goes along."""

    states: int
    """How many values it carries: the first inputs and the first outputs."""
    input_axes: tuple[int, ...]
    output_axes: tuple[int, ...]
    input_backwards: tuple[bool, ...]
    output_backwards: tuple[bool, ...]


def scanned(node: ir.Node) -> Scanned:
    """The attributes of a Scan, defaults filled in."""
    inputs = node.attributes["num_scan_inputs"].as_int()
    states = len(node.inputs) - inputs
    none = [0] * inputs, [0] * (len(node.outputs) - states)
    axes, directions = (
        [
            tuple(node.attributes.get_ints(f"scan_{side}_{kind}", zeros))
            for side, zeros in zip(("input", "output"), none, strict=True)
        ]
        for kind in ("axes", "directions")
    )
    return Scanned(states, axes[0], axes[1], tuple(map(bool, directions[0])), tuple(map(bool, directions[1])))


def _scan_trips(_: ir.Graph, node: ir.Node) -> Trips:
    form = scanned(node)
    sequences = node.inputs[form.states :]
    for value, axis in zip(sequences, form.input_axes, strict=True):
        length = None if value is None or value.shape is None else value.shape[axis]
        if isinstance(length, int):
            return Trips(length) if length else Trips(None, "what it goes along is empty")
    names = ", ".join(
        f"axis {axis} of {value.name}"
        for value, axis in zip(sequences, form.input_axes, strict=True)
        if value is not None
    )
    return Trips(None, f"the length that it goes along ({names}) is not known; {SET}")


def _loop_trips(graph: ir.Graph, node: ir.Node) -> Trips:
    most, start = node.inputs[NUMBER], node.inputs[CONDITION]
    for value, what in ((most, "its trip count"), (start, "its first condition")):
        if value is not None and not is_constant(value):
            return Trips(None, f"{what} ({value.name}) is no constant; {SET}")
    limit = MOST_TRIPS if most is None else min(int(_only(most)), MOST_TRIPS)
    goes_on = start is None or bool(_only(start))
    count = _counted(graph, node, limit) if goes_on and limit > 0 else 0
    if count is None:
        return Trips(None, "its condition hangs on what is computed")
    if count == MOST_TRIPS:
        return Trips(None, f"it runs {MOST_TRIPS} times or more")
    collected = node.outputs[len(node.inputs) - CARRIED :]
    if count == 0 and any(each.uses() or each.is_graph_output() for each in collected):
        return Trips(None, "it never runs, and what it collects is read")
    return Trips(count)


def _only(value: ir.Value) -> np.generic:
    """The element of a constant that has one."""
    element: np.generic = value.const_value.numpy().reshape(-1)[0]  # type: ignore[union-attr]
    return element


@dataclass
class _Condition:
    """What the condition of a Loop hangs on."""

    parts: dict[ir.Value, onnx.NodeProto] = field(default_factory=dict)
    """What computes a value of the body; by its first output a node that computes several at once."""
    constants: set[ir.Value] = field(default_factory=set)
    carried: set[int] = field(default_factory=set)
    """Which carried values, from 0."""


def _counted(graph: ir.Graph, node: ir.Node, limit: int) -> int | None:
    """The trips that begin before the condition is false, `limit` at most; None where it hangs on more than constants."""
    body = body_of(node)
    condition = _condition(node, body)
    if condition is None:
        return None
    carried = sorted(condition.carried)
    constants = sorted(condition.constants, key=lambda value: str(value.name))
    places = [NUMBER, CONDITION, *(each + CARRIED for each in carried)]
    given = [*(body.inputs[each] for each in places), *constants]
    read = [body.outputs[0], *(body.outputs[each + 1] for each in carried)]
    ordered = (value for each in body for value in each.outputs if value in condition.parts)
    session = constant_session(graph, [condition.parts[value] for value in ordered], given, read)
    feeds = {str(value.name): value.const_value.numpy() for value in constants}  # type: ignore[union-attr]
    state = [node.inputs[each + CARRIED].const_value.numpy() for each in carried]  # type: ignore[union-attr]
    for number in range(limit):
        of_trip = [np.array(number), np.array(True), *state]
        feeds |= {str(body.inputs[place].name): array for place, array in zip(places, of_trip, strict=True)}
        found = session.run(feeds)
        if found is None:
            return None
        goes_on, *state = found
        if not goes_on.reshape(-1)[0]:
            return number + 1
    return limit


def _condition(node: ir.Node, body: ir.Graph) -> _Condition | None:
    """None where it hangs on a carried value that begins with data, or on what stands outside the loop and is no constant."""
    found = _Condition()
    waiting, seen = [body.outputs[0]], set()
    places = {value: place for place, value in enumerate(body.inputs)}
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        producer = value.producer()
        if is_constant(value):
            found.constants.add(value)
        elif value in places:
            carried = places[value] - CARRIED
            if carried >= 0 and not is_constant(node.inputs[carried + CARRIED]):
                return None
            if carried >= 0:
                found.carried.add(carried)
                waiting.append(body.outputs[carried + 1])
        elif (
            producer is None
            or producer.graph is not body
            or not _is_computable(part := _part(producer, value))
        ):
            return None
        else:
            found.parts[value if producer.op_type == "If" else producer.outputs[0]] = part
            names = names_read(part)
            waiting += [each for each in _operands(producer) if each.name in names]
    return found


def _part(node: ir.Node, value: ir.Value) -> onnx.NodeProto:
    """`node`, without what it computes beside `value`."""
    return part_of(ir.to_proto(node), {str(value.name)})


def _is_computable(node: onnx.NodeProto) -> bool:
    """Whether onnxruntime gives the same at every run of the node."""
    return all(each.domain in STANDARD_DOMAINS and each.op_type not in RANDOM for each in nodes_within(node))


def _operands(node: ir.Node) -> list[ir.Value]:
    """What a node reads, and what its branches and loops read from around it, in order."""
    graphs = [each for graph in bodies(node) for each in (graph, *graph.subgraphs())]
    own = {value for graph in graphs for value in (*graph.inputs, *graph.initializers.values())}
    own |= {value for graph in graphs for each in graph for value in each.outputs}
    inner = [value for graph in graphs for each in graph for value in each.inputs]
    inner += [value for graph in graphs for value in graph.outputs]
    read = dict.fromkeys([*node.inputs, *inner])
    return [value for value in read if value is not None and value not in own]


COUNTERS: dict[str, Callable[[ir.Graph, ir.Node], Trips]] = {"Loop": _loop_trips, "Scan": _scan_trips}
