"""A graph cut into blocks of a few multiply-accumulates each, at values that everything passes through.

A residual block, an inverted bottleneck or a layer of a transformer is what lies between two such values. What the quantizers
and the rounded weights cannot change (masks, lengths, positions) may pass a cut beside it. Where a stretch without a cut is
long (a U-Net, the heads of a detector), it is parted where the fewest values pass: any run of nodes in graph order is a block,
with as many inputs and outputs as it needs.
"""

import operator
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from torch import fx

MERGED = 3
"""Multiply-accumulates that neighbours are put together up to."""
MOST = 8
"""Multiply-accumulates of a block; longer stretches are parted."""


@dataclass(frozen=True)
class Block:
    """A run of nodes in graph order."""

    nodes: tuple[fx.Node, ...]
    """Without constants."""
    inputs: tuple[fx.Node, ...]
    """Values made before that it reads; constants are not among them."""
    outputs: tuple[fx.Node, ...]
    """Values that are read behind it, or are the network's."""


def cut_into_blocks(graph: fx.Graph, weights: Collection[fx.Node]) -> list[Block]:
    """All computing nodes of `graph`, in blocks.

    Args:
        weights: the constants that are rounded; their readers are what is counted.
    """
    line = _Line(graph, frozenset(weights))
    ends = _merged(line, _narrow_ends(line))
    return [line.block(start, end) for start, end in zip([0, *ends], [*ends, len(line.nodes)], strict=True)]


def whole_graph(graph: fx.Graph) -> Block:
    """All of it as one block."""
    line = _Line(graph, frozenset())
    return line.block(0, len(line.nodes))


class _Line:
    """The computing nodes in order; boundary i lies before node i."""

    def __init__(self, graph: fx.Graph, weights: frozenset[fx.Node]) -> None:
        self.nodes = [node for node in graph.nodes if node.op in ("call_function", "call_module")]
        self.position = {node: index for index, node in enumerate(self.nodes)}
        self.last_read = {
            node: max((self.position[user] for user in node.users if user in self.position), default=-1)
            for node in graph.nodes
            if node.op not in ("get_attr", "output")
        }
        self.is_output = {node for node in graph.nodes if any(user.op == "output" for user in node.users)}
        disturbed = _disturbed(self.nodes, weights)
        self.passing = self._passing(lambda node: node in disturbed)
        self.broken = self._passing(lambda node: any(_takes_part(user) for user in node.users))
        """Boundaries between a node of several outputs and those who take one of them."""
        counts = [sum(source in weights for source in node.all_input_nodes) > 0 for node in self.nodes]
        self.products = [0]
        """Multiply-accumulates before every boundary."""
        for count in counts:
            self.products.append(self.products[-1] + count)

    def _passing(self, counted) -> list[int]:  # type: ignore[no-untyped-def]
        """How many of the `counted` values are alive at every boundary."""
        change = [0] * (len(self.nodes) + 2)
        for node, last in self.last_read.items():
            first = self.position.get(node, -1)
            if counted(node) and last > first:
                change[first + 1] += 1
                change[last + 1] -= 1
        found, alive = [], 0
        for each in change[:-1]:
            alive += each
            found.append(alive)
        return found

    def block(self, start: int, end: int) -> Block:
        nodes = self.nodes[start:end]
        inputs = dict.fromkeys(
            source
            for node in nodes
            for source in node.all_input_nodes
            if source.op != "get_attr" and self.position.get(source, -1) < start
        )
        outputs = [node for node in nodes if self.last_read[node] >= end or node in self.is_output]
        return Block(tuple(nodes), tuple(inputs), tuple(outputs))

    def is_read_by_quantizer(self, boundary: int) -> bool:
        """The value made right before the boundary is quantized next: its quantizer belongs to who reads it."""
        return any(user.op == "call_module" for user in self.nodes[boundary - 1].users)


def _takes_part(user: fx.Node) -> bool:
    return user.target is operator.getitem


def _disturbed(nodes: Sequence[fx.Node], weights: frozenset[fx.Node]) -> set[fx.Node]:
    """The values that are not the float network's."""
    found: set[fx.Node] = set()
    for node in nodes:
        if node.op == "call_module" or any(each in found or each in weights for each in node.all_input_nodes):
            found.add(node)
    return found


def _narrow_ends(line: _Line) -> list[int]:
    """For every number of multiply-accumulates, the best boundary behind so many that one value passes, if there is one.

    That is before the value's quantizer; else the last, or behind the last multiply-accumulate the first: what follows there,
    as a Softmax, would only dampen errors.
    """
    total = line.products[-1]
    by_products: dict[int, list[int]] = {}
    for boundary in range(1, len(line.nodes)):
        if line.passing[boundary] <= 1 and not line.broken[boundary] and line.products[boundary]:
            by_products.setdefault(line.products[boundary], []).append(boundary)
    ends = []
    for products, boundaries in by_products.items():
        before_quantizer = [each for each in boundaries if line.is_read_by_quantizer(each)]
        last = boundaries[0] if products == total else boundaries[-1]
        ends.append(before_quantizer[0] if before_quantizer else last)
    return ends


def _merged(line: _Line, narrow: Sequence[int]) -> list[int]:
    """Where the blocks end, the last one's end excepted."""
    ends: list[int] = []
    start = 0

    def products(first: int, last: int) -> int:
        return line.products[last] - line.products[first]

    for here, after in zip(narrow, [*narrow[1:], len(line.nodes)], strict=True):
        if products(start, after) > MERGED or products(here, after) == 0:
            ends += [*_parted(line, start, here), here]
            start = here
    return [*ends, *_parted(line, start, len(line.nodes))]


def _parted(line: _Line, start: int, end: int) -> list[int]:
    """Boundaries inside a long stretch, each where the fewest values pass within reach."""
    ends = []
    while line.products[end] - line.products[start] > MOST:
        done = line.products[start]
        within = [
            each
            for each in range(start + 1, end)
            if done + MOST // 2 <= line.products[each] <= done + MOST and not line.broken[each]
        ]
        if not within:
            break
        start = min(within, key=lambda each: (line.passing[each], -each))
        ends.append(start)
    return ends
