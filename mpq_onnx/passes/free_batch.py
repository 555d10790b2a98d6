"""Open the batch axis of a graph that was exported for one batch size, before anything of it is folded.

Exporters write the batch size into targets of Reshape and Expand, starts and ends of Slice, first states, learned tokens. Every
tensor's shape is followed for the size that is written and for a multiple of it; where a constant holds the batch, it is taken
out. Whether the graph then computes the same for any batch is for the caller to check: a Reshape may have meant something else.
"""

from collections.abc import Mapping
from typing import TypeVar

import onnx_ir as ir

from mpq_onnx.graph.model_inputs import fixed_batch, model_inputs
from mpq_onnx.graph.operators import is_standard
from mpq_onnx.graph.post_processing import METADATA_BEGINS, multiplied_values
from mpq_onnx.passes.batch_constants import FREED, Free
from mpq_onnx.passes.batch_in_reshapes import written_batch
from mpq_onnx.passes.followed_shapes import FollowedShapes

BATCH = "batch"
MULTIPLE = 7
"""Of the batch size that is written, to be followed beside it; few axes have such a length by chance."""

Element = TypeVar("Element")


class FreeBatchPass(ir.passes.InPlacePass):
    """Name the batch axis of every input `batch` and free the constants that hold its length.

    Leaves a graph alone whose batch is open already, or that takes its batch axis away in front of a product; `reason` says
    then why. Behind the last product post-processing begins there, and the node says so.
    """

    def __init__(self, freed: Mapping[str, Free] = FREED) -> None:
        """Args: freed: what is done with each operator (see batch_constants, batch_in_reshapes)."""
        super().__init__()
        self.freed = freed
        self.reason: str | None = None
        """What keeps the batch fixed; None where nothing is known to."""
        self.behind: str | None = None
        """What takes the batch axis away behind the network, where post-processing begins; None where nothing does."""
        self.written: list[str] = []
        """The nodes whose constants may hold the batch in several ways, or in none that is known."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        inputs = [value for value in graph.inputs if value.name not in graph.initializers]
        wanted = model_inputs(model)
        axes = [each.example_axis for each in wanted]
        size = fixed_batch(wanted)
        if size is None:
            return ir.passes.PassResult(model, modified=False)
        written, followed = FollowedShapes(model), FollowedShapes(model)
        for value, axis in zip(inputs, axes, strict=True):
            if value.shape is not None:
                written.shapes[value] = _lengths(value.shape)
                followed.shapes[value] = _replaced(_lengths(value.shape), axis, size * MULTIPLE)
        seen: set[ir.Node] = set()
        multiplied = multiplied_values(model.graph)
        for node in list(graph):
            free = self.freed.get(node.op_type) if is_standard(node) else None
            doubtful = written_batch(node, written, followed, size) if is_standard(node) else None
            self.written += [] if doubtful is None else [doubtful]
            reason = free(node, written, followed, size) if free is not None else None
            if reason is not None and not any(value in multiplied for value in node.outputs):
                node.metadata_props[METADATA_BEGINS] = reason
                self.behind = self.behind or reason
            else:
                self.reason = self.reason or reason
            for each in [*_new_before(node, seen), node]:
                written.follow(each)
                followed.follow(each)
                seen.add(each)
        name_batch(model, BATCH)
        for node in graph.all_nodes():
            for value in node.outputs:
                value.shape = (
                    ir.Shape([None] * len(value.shape)) if value.is_graph_output() and value.shape else None
                )
        return ir.passes.PassResult(model, modified=True)


def name_batch(model: ir.Model, length: int | str | None) -> None:
    """Give the batch axis of every input that length, or name."""
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    for value, wanted in zip(inputs, model_inputs(model), strict=True):
        axis = wanted.example_axis
        if value.shape is not None and axis is not None:
            value.shape = ir.Shape(_replaced(list(value.shape), axis, length))  # type: ignore[type-var]


def _new_before(node: ir.Node, seen: set[ir.Node]) -> list[ir.Node]:
    """The nodes that were put in for `node`, in order."""
    found: list[ir.Node] = []
    for value in node.inputs:
        producer = value.producer() if value is not None else None
        if producer is not None and producer not in seen and producer.graph is node.graph:
            found += [*_new_before(producer, seen), producer]
    return found


def _lengths(shape: ir.Shape) -> list[int | None]:
    return [size if isinstance(size, int) else None for size in shape]


def _replaced(sizes: list[Element], axis: int | None, size: Element) -> list[Element]:
    return [size if place == axis else each for place, each in enumerate(sizes)]
