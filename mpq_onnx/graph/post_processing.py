"""Post-processing: what comes behind a network's products and is no network, such as the boxes that a detector keeps.

It begins at an operator without a mirror (NonMaxSuppression, Loop, a tree), or one whose number of results hangs on the data,
and is all that depends on it; nothing there multiplies and accumulates. In networks of a fixed batch it may also begin where an
example is picked out of the batch: export notes that at the node. It stays in float and as it is. What it reads of the network
stands for its results wherever gradients or the mirror are needed.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.graph.mirrored import is_mirrored
from mpq_onnx.graph.operators import is_constant, is_pass_through, is_standard
from mpq_onnx.graph.uncounted import bodies, multiplies

COUNTING = frozenset({"NonZero", "Unique", "Compress"})
"""Operators that give as many results as the data want."""
OF_NO_LENGTH = COUNTING | {"NonMaxSuppression", "Loop", "If", "Scan"}
"""What may do so, of those without a mirror too."""
METADATA_BEGINS = "mpq_onnx.post_processing"
"""Of a node that takes the batch axis away; the value says how."""


@dataclass(frozen=True)
class PostProcessing:
    """The nodes behind the network, if there are any."""

    nodes: tuple[ir.Node, ...]
    """In graph order."""
    reads: tuple[ir.Value, ...]
    """What they take of what the network computes."""
    outputs: tuple[ir.Value, ...]
    """Of the model."""

    @property
    def mirrored_outputs(self) -> tuple[str, ...]:
        """Names of the outputs that the mirror has, and of what the others are made from; each once."""
        results = self.values
        own = [value for value in self.outputs if value not in results]
        return tuple(dict.fromkeys(str(value.name) for value in (*own, *self.reads)))

    @property
    def outputs_of_no_length(self) -> frozenset[str]:
        """Names of the outputs that are as long as something is found: no two networks give the same."""
        found: set[ir.Value] = set()
        for node in self.nodes:
            counts = node.op_type in OF_NO_LENGTH and is_standard(node)
            if counts or any(value in found for value in operands_within(node)):
                found.update(node.outputs)
        return frozenset(str(value.name) for value in self.outputs if value in found)

    @property
    def values(self) -> set[ir.Value]:
        """What they compute."""
        return {value for node in self.nodes for value in node.outputs}

    @property
    def captured(self) -> set[ir.Value]:
        """What its branches and loops read from around them, through views too; onnxruntime aborts at quantizers there."""
        found = set()
        waiting = [
            value for node in self.nodes for value in operands_within(node) if value not in node.inputs
        ]
        while waiting:
            value = waiting.pop()
            producer = value.producer()
            found.add(value)
            if producer is not None and is_pass_through(producer) and producer.inputs[0] is not None:
                waiting.append(producer.inputs[0])
        return found

    def __str__(self) -> str:
        first = self.nodes[0]
        behind = f" and {len(self.nodes) - 1} nodes behind it" if len(self.nodes) > 1 else ""
        return f"{first.name} ({first.op_type}){behind}"


def post_processing(model: ir.Model) -> PostProcessing:
    """That of a canonical model; empty where nothing multiplies."""
    nodes = list(model.graph)
    multiplied = multiplied_values(model.graph)
    behind: list[ir.Node] = []
    computed: set[ir.Value] = set()
    for node in nodes if multiplied else ():
        is_last = not multiplies(node) and not any(value in multiplied for value in node.outputs)
        if (is_last and _begins(node)) or any(value in computed for value in operands_within(node)):
            behind.append(node)
            computed.update(node.outputs)
    read = dict.fromkeys(value for node in behind for value in operands_within(node))
    made = {value for node in nodes for value in node.outputs} - computed
    taken = tuple(value for value in read if value in made)
    return PostProcessing(tuple(behind), taken, tuple(model.graph.outputs))


def multiplied_values(graph: ir.Graph) -> set[ir.Value]:
    """The values that a product hangs on."""
    found: set[ir.Value] = set()
    for node in reversed(list(graph)):
        if multiplies(node) or any(value in found for value in node.outputs):
            found.update(operands_within(node))
    return found


def _begins(node: ir.Node) -> bool:
    counts = node.op_type in COUNTING and not is_constant(node.inputs[0])
    return counts or not is_mirrored(node) or METADATA_BEGINS in node.metadata_props


def operands_within(node: ir.Node) -> Iterator[ir.Value]:
    """A node's operands, and what its branches and loops take from around them."""
    yield from (value for value in node.inputs if value is not None)
    for body in bodies(node):
        for inner in body.all_nodes():
            yield from (value for value in inner.inputs if value is not None)
        yield from body.outputs
