"""Where the boxes of a drawn graph stand: layers by longest path, few crossings, then columns side by side.

The way of Sugiyama (1981): an edge over several layers gets a point in each; the order inside layers is that of the neighbours'
mean places; places are then moved towards the neighbours as far as what stands beside them allows. As a network is hundreds of
layers long and few wide, the stack is cut into columns where few edges pass.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SWEEPS = 6
POINT_WIDTH = 0.16
"""Of an edge that passes, in boxes."""
GAP = 0.12
"""Between two boxes beside each other, in boxes."""
WANTED_SHAPE = 1.5
"""Width over height of the whole."""
MOST_COLUMNS = 40
SEARCHED = 0.2
"""A column may be so much shorter or longer than another, to end where few edges pass."""


@dataclass(frozen=True)
class Place:
    """Of a box, or of a point of an edge."""

    column: int
    x: float
    """Of its middle, in boxes from the column's left."""
    row: int
    """In the column."""


@dataclass(frozen=True)
class Layout:
    """Places in a grid of boxes."""

    boxes: tuple[Place, ...]
    """One a node."""
    edges: tuple[tuple[Place, ...], ...]
    """One an edge: the way from its first node to its second, ends included."""
    widths: tuple[float, ...]
    """Of the columns, in boxes."""
    rows: int
    """Of the longest column."""


def arrange(nodes: int, edges: Sequence[tuple[int, int]], box_shape: float) -> Layout:
    """Places for an acyclic graph.

    Args:
        nodes: how many; each edge goes from a smaller number to a larger one.
        box_shape: the width of a box over the height of a row.
    """
    layer = _layers(nodes, edges)
    ways, levels = _with_points(nodes, edges, layer)
    neighbours = _neighbours(ways)
    for sweep in range(SWEEPS):
        _reorder(levels, neighbours, down=sweep % 2 == 0)
    places = _x_places(levels, neighbours, nodes)
    crossing = [0] * len(levels)
    level_of = {each: index for index, level in enumerate(levels) for each in level}
    for point, _ in {pair for way in ways for pair in itertools.pairwise(way)}:
        crossing[level_of[point]] += 1
    ends = _column_ends(crossing, levels, places, nodes, box_shape)
    return _in_columns(nodes, ways, levels, places, ends)


def _layers(nodes: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """By the longest path from a source; sources stand right before their first reader."""
    layer = [0] * nodes
    before: dict[int, list[int]] = {}
    for source, target in edges:
        before.setdefault(target, []).append(source)
    for node in range(nodes):
        layer[node] = max((layer[each] + 1 for each in before.get(node, ())), default=0)
    first: dict[int, int] = {}
    for source, target in edges:
        first[source] = min(first.get(source, layer[target]), layer[target])
    return [first[node] - 1 if node not in before and node in first else layer[node] for node in range(nodes)]


def _with_points(
    nodes: int, edges: Sequence[tuple[int, int]], layer: Sequence[int]
) -> tuple[list[list[int]], list[list[int]]]:
    """Every edge as a way through a point in each layer that it passes, and the nodes and points of every layer.

    Edges of one source go together for as long as they can.
    """
    levels: list[list[int]] = [[] for _ in range(max(layer, default=0) + 1)]
    for node in range(nodes):
        levels[layer[node]].append(node)
    ways: list[list[int]] = []
    points: dict[tuple[int, int], int] = {}
    for source, target in edges:
        way = [source]
        for level in range(layer[source] + 1, layer[target]):
            if (source, level) not in points:
                points[source, level] = nodes + len(points)
                levels[level].append(points[source, level])
            way.append(points[source, level])
        ways.append([*way, target])
    return ways, levels


def _neighbours(ways: Iterable[Sequence[int]]) -> tuple[dict[int, list[int]], dict[int, list[int]]]:
    """(above, below) of every node and point."""
    above: dict[int, list[int]] = {}
    below: dict[int, list[int]] = {}
    for first, second in dict.fromkeys(pair for way in ways for pair in itertools.pairwise(way)):
        above.setdefault(second, []).append(first)
        below.setdefault(first, []).append(second)
    return above, below


def _reorder(
    levels: list[list[int]], neighbours: tuple[dict[int, list[int]], dict[int, list[int]]], down: bool
) -> None:
    """One sweep of barycentres."""
    known = neighbours[0] if down else neighbours[1]
    place = {each: index for level in levels for index, each in enumerate(level)}
    for level in levels if down else reversed(levels):
        wanted = {
            each: float(np.mean([place[other] for other in known[each]])) if known.get(each) else place[each]
            for each in level
        }
        level.sort(key=lambda each: wanted[each])
        place.update({each: index for index, each in enumerate(level)})


def _x_places(
    levels: Sequence[Sequence[int]],
    neighbours: tuple[dict[int, list[int]], dict[int, list[int]]],
    nodes: int,
) -> dict[int, float]:
    """The middle of every box and point, in boxes; 0 is the middle of the whole."""
    places: dict[int, float] = {}
    for level in levels:
        at = np.cumsum(_distances(level, nodes))
        for each, x in zip(level, at - at.mean(), strict=True):
            places[each] = float(x)
    for sweep in range(2 * SWEEPS):
        known = neighbours[sweep % 2]
        for level in levels if sweep % 2 == 0 else reversed(levels):
            wanted = [
                float(np.mean([places[other] for other in known[each]])) if known.get(each) else places[each]
                for each in level
            ]
            places.update(zip(level, _apart(wanted, _distances(level, nodes)), strict=True))
    return places


def _distances(level: Sequence[int], nodes: int) -> list[float]:
    """How far from the one before it each must stay; 0 for the first."""
    half = [(1.0 if each < nodes else POINT_WIDTH) / 2 for each in level]
    return [0.0, *(first + second + GAP for first, second in itertools.pairwise(half))][: len(level)]


def _apart(wanted: Sequence[float], distances: Sequence[float]) -> list[float]:
    """The places nearest to `wanted`, in least squares, that keep their distances (pool adjacent violators)."""
    offsets = np.cumsum(distances)
    pools: list[tuple[float, int]] = []  # (mean, members)
    for value in np.asarray(wanted) - offsets:
        mean, members = float(value), 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean = (mean * members + before * count) / (members + count)
            members += count
        pools.append((mean, members))
    means = np.concatenate([np.full(count, mean) for mean, count in pools]) if pools else np.zeros(0)
    return [float(each) for each in means + offsets]


def _column_ends(
    crossing: Sequence[int],
    levels: Sequence[Sequence[int]],
    places: Mapping[int, float],
    nodes: int,
    box_shape: float,
) -> list[int]:
    """After which layer every column ends; as many columns as come nearest to the wanted shape."""
    best: tuple[float, list[int]] | None = None
    for columns in range(1, min(MOST_COLUMNS, len(levels)) + 1):
        ends = _ends(crossing, len(levels), columns)
        starts = [0, *(end + 1 for end in ends)]
        width = sum(
            _width(levels[start : end + 1], places, nodes) for start, end in zip(starts, ends, strict=False)
        )
        height = max(end + 1 - start for start, end in zip(starts, ends, strict=False))
        off = abs(np.log(width * box_shape / height / WANTED_SHAPE))
        if best is None or off < best[0]:
            best = off, ends
    return [] if best is None else best[1]


def _ends(crossing: Sequence[int], layers: int, columns: int) -> list[int]:
    length = layers / columns
    ends: list[int] = []
    room = int(length * SEARCHED)
    for column in range(1, columns):
        middle = round(column * length) - 1
        near = range(max(middle - room, ends[-1] + 1 if ends else 0), min(middle + room, layers - 2) + 1)
        if near:
            ends.append(min(near, key=lambda each: (crossing[each], abs(each - middle))))
    return [*ends, layers - 1]


def _reach(level: Iterable[int], places: Mapping[int, float], nodes: int) -> tuple[float, float]:
    """The left and the right end of a layer."""
    half = {each: (1.0 if each < nodes else POINT_WIDTH) / 2 for each in level}
    return min(places[each] - half[each] for each in half), max(places[each] + half[each] for each in half)


def _width(levels: Sequence[Sequence[int]], places: Mapping[int, float], nodes: int) -> float:
    reaches = [_reach(level, places, nodes) for level in levels]
    return max(right for _, right in reaches) - min(left for left, _ in reaches)


def _in_columns(
    nodes: int,
    ways: Sequence[Sequence[int]],
    levels: Sequence[Sequence[int]],
    places: Mapping[int, float],
    ends: Sequence[int],
) -> Layout:
    starts = [0, *(end + 1 for end in ends[:-1])]
    found: dict[int, Place] = {}
    for column, (start, end) in enumerate(zip(starts, ends, strict=True)):
        left = min(_reach(level, places, nodes)[0] for level in levels[start : end + 1])
        for row, level in enumerate(levels[start : end + 1]):
            found |= {each: Place(column, places[each] - left, row) for each in level}
    widths = [_width(levels[start : end + 1], places, nodes) for start, end in zip(starts, ends, strict=True)]
    return Layout(
        tuple(found[node] for node in range(nodes)),
        tuple(tuple(found[each] for each in way) for way in ways),
        tuple(widths),
        max(end + 1 - start for start, end in zip(starts, ends, strict=True)),
    )
