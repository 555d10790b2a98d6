"""A drawn graph as an SVG file: coloured by bits, or by energy where it is noisy; all about a box in its title, on hover."""

import itertools
import math
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence

from mpq_onnx.report.drawn_graph import Box, DrawnGraph
from mpq_onnx.report.layered_layout import Layout, Place, arrange

BOX_WIDTH, BOX_HEIGHT, ROW_HEIGHT = 164.0, 36.0, 56.0
"""Pixels; so are the others."""
MARGIN, COLUMN_GAP, HEAD = 24.0, 56.0, 92.0
LONGEST_NAME, LONGEST_KIND, LONGEST_TITLE = 24, 24, 60
NAME_START = 8
"""Letters of a longer name that stay in front."""
COLOURS = ("#f29157", "#f6b56f", "#f4d98b", "#cfe19b", "#9fd3b0", "#8fc1dd", "#9aaee6")
"""From few bits, or little energy, to many; dark text is legible on all."""
BEYOND = "#d3a6e0"
"""Of more bits than the colours reach: 16, mostly."""
FEWEST_BITS = 2
SWATCH, LETTER = 38.0, 7.0
"""Of the legend: its square with what lies around it, and a letter."""
ARROW, LANE, LANES = 4.0, 5.0, 5
"""The end of an edge; the distance of edges that go up between two columns, and how many have a place of their own there."""
LEAST_WIDTH = 560.0
Legend = Sequence[tuple[str | None, str]]
"""(colour, what it stands for); none for boxes without."""
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1a1a1a; }
.ground { fill: #ffffff; } .title { font-size: 17px; font-weight: 600; }
.edge { fill: none; stroke: #7d838a; stroke-width: 1.2; } .head { fill: #7d838a; }
.box rect, .swatch rect { stroke: #0004; } .box text { fill: #141414; text-anchor: middle; font-size: 11.5px; }
.box .kind { font-size: 10.5px; }
:is(.box, .swatch).bare rect { fill: #f2f3f4; stroke: #9aa0a6; stroke-dasharray: 3 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e8e8e8; } .ground { fill: #16181a; } .edge { stroke: #8d949b; } .head { fill: #8d949b; }
  :is(.box, .swatch).bare rect { fill: #26292c; stroke: #7b828a; } .box.bare text { fill: #e8e8e8; }
}
"""


def graph_svg(graph: DrawnGraph, title: str) -> str:
    """The file's text.

    Args:
        title: what the model is called.
    """
    layout = arrange(len(graph.boxes), graph.edges, BOX_WIDTH / ROW_HEIGHT)
    scale = _EnergyScale(graph) if graph.energy_unit is not None else _BitScale(graph)
    lefts = _column_lefts(layout)
    legend = [*scale.swatches, (None, scale.nothing)]
    width = max(lefts[-1] + layout.widths[-1] * BOX_WIDTH + MARGIN, LEAST_WIDTH, *_swatch_places(legend)[-1:])
    height = HEAD + layout.rows * ROW_HEIGHT + MARGIN
    root = ET.Element(
        "svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:.0f} {height:.0f}", width=f"{width:.0f}",
        height=f"{height:.0f}", role="img",
    )  # fmt: skip
    ET.SubElement(root, "title").text = _clean(title)
    ET.SubElement(root, "style").text = STYLE
    ET.SubElement(root, "rect", {"class": "ground", "width": "100%", "height": "100%"})
    _draw_legend(root, legend, scale.note, title)
    drawn: set[tuple[Place, Place]] = set()
    for (source, _), way in zip(graph.edges, layout.edges, strict=True):
        _draw_edge(root, way, lefts, LANE * (source % LANES - LANES // 2), drawn)
    shared = _shared_beginning([box.name for box in graph.boxes])
    for box, place in zip(graph.boxes, layout.boxes, strict=True):
        _draw_box(root, box, box.name.removeprefix(shared), _middle(place, lefts), scale, graph.energy_unit)
    return ET.tostring(root, encoding="unicode") + "\n"


class _BitScale:
    """Colours of whole widths from two bits on, of the weights or, where a box has none, of its output."""

    nothing = "float"
    colours = (*COLOURS, BEYOND)

    def __init__(self, graph: DrawnGraph) -> None:
        self.note = "colour: bits of the weights, or of the output where a box has no weights"
        widths = [bits for box in graph.boxes if (bits := self._bits(box)) is not None]
        names = {step: f"{FEWEST_BITS + step}" for step in range(len(self.colours))}
        if min(widths, default=FEWEST_BITS) < FEWEST_BITS:
            names[0] = f"{FEWEST_BITS} and fewer"
        beyond = {each for each in widths if self._step(each) == len(COLOURS)}
        names[len(COLOURS)] = f"{min(beyond, default=0):g}" + (" and more" if len(beyond) > 1 else "")
        found = sorted({self._step(each) for each in widths})
        self.swatches = [(self.colours[step], f"{names[step]} bits") for step in found]

    @staticmethod
    def _bits(box: Box) -> float | None:
        return box.output_bits if box.weight_bits is None else box.weight_bits

    @staticmethod
    def _step(bits: float) -> int:
        return min(max(round(bits) - FEWEST_BITS, 0), len(COLOURS))

    def colour(self, box: Box) -> str | None:
        bits = self._bits(box)
        return None if bits is None else self.colours[self._step(bits)]


class _EnergyScale:
    """Colours of energies, in equal ratios from the least to the most."""

    nothing = "no energy"

    def __init__(self, graph: DrawnGraph) -> None:
        unit = "" if graph.energy_unit in (None, "", "relative") else f" {graph.energy_unit}"
        self.note = f"colour: energy per MAC{f', in{unit}' if unit else ''}, mean over channels"
        energies = [box.energy for box in graph.boxes if box.energy] or [1.0]
        self.least, self.most = min(energies), max(energies)
        ends = [
            self.least * (self.most / self.least) ** (step / len(COLOURS)) for step in range(len(COLOURS) + 1)
        ]
        self.swatches = [
            (colour, f"{low:.3g} to {high:.3g}")
            for colour, low, high in zip(COLOURS, ends, ends[1:], strict=False)
        ]
        if self.least == self.most:
            self.swatches = [(COLOURS[0], f"{self.least:.3g}{unit}")]

    def colour(self, box: Box) -> str | None:
        if not box.energy:
            return None
        if self.least == self.most:
            return COLOURS[0]
        part = math.log(box.energy / self.least) / math.log(self.most / self.least)
        return COLOURS[min(int(part * len(COLOURS)), len(COLOURS) - 1)]


def _swatch_places(legend: Legend) -> list[float]:
    """Where each begins, and where the last ends."""
    return list(itertools.accumulate((SWATCH + LETTER * len(name) for _, name in legend), initial=MARGIN))


def _draw_legend(root: ET.Element, legend: Legend, note: str, title: str) -> None:
    shown = title if len(title) <= LONGEST_TITLE else "…" + title[1 - LONGEST_TITLE :]
    _text(root, shown, MARGIN, 30, "title")
    _text(root, note, MARGIN, 50)
    for (colour, name), x in zip(legend, _swatch_places(legend), strict=False):
        group = ET.SubElement(root, "g", {"class": "swatch" if colour else "swatch bare"})
        place = {"x": f"{x:.0f}", "y": "61", "width": "16", "height": "16", "rx": "3"}
        ET.SubElement(group, "rect", place | ({"fill": colour} if colour else {}))
        _text(group, name, x + 22, 74)


def _column_lefts(layout: Layout) -> list[float]:
    lefts = [MARGIN]
    for width in layout.widths[:-1]:
        lefts.append(lefts[-1] + width * BOX_WIDTH + COLUMN_GAP)
    return lefts


def _middle(place: Place, lefts: Sequence[float]) -> tuple[float, float]:
    return lefts[place.column] + place.x * BOX_WIDTH, HEAD + (place.row + 0.5) * ROW_HEIGHT


def _draw_edge(
    root: ET.Element,
    way: Sequence[Place],
    lefts: Sequence[float],
    lane: float,
    drawn: set[tuple[Place, Place]],
) -> None:
    """Down from box to box, straight through the layers that it passes, and up beside the column that it goes on in.

    Args:
        lane: how far from the middle between two columns it goes up.
        drawn: steps that edges of the same source have gone already; more are added.
    """
    half, steps = BOX_HEIGHT / 2, []
    x, y = _middle(way[0], lefts)
    y += half
    for before, place in itertools.pairwise(way):
        to_x, middle = _middle(place, lefts)
        end = middle - half - ARROW if place is way[-1] else middle + half
        if (before, place) not in drawn:
            drawn.add((before, place))
            top = middle - half - (ARROW if place is way[-1] else 0)
            if before.column == place.column:
                turn = (y + top) / 2
                step = f"C{x:.1f},{turn:.1f} {to_x:.1f},{turn:.1f} {to_x:.1f},{top:.1f}"
            else:
                gutter = lefts[place.column] - COLUMN_GAP / 2 + lane
                step = f"V{y + 10 + lane / 2:.1f}H{gutter:.1f}V{top - 8 - lane / 2:.1f}H{to_x:.1f}V{top:.1f}"
            steps.append(f"M{x:.1f},{y:.1f}{step}V{end:.1f}")
        x, y = to_x, end
    ET.SubElement(root, "path", {"class": "edge", "d": "".join(steps)})
    ET.SubElement(root, "path", {"class": "head", "d": f"M{x:.1f},{y + ARROW:.1f}l-3.5,-6h7z"})


def _draw_box(
    root: ET.Element,
    box: Box,
    name: str,
    at: tuple[float, float],
    scale: _BitScale | _EnergyScale,
    unit: str | None,
) -> None:
    colour, (x, y) = scale.colour(box), at
    group = ET.SubElement(root, "g", {"class": "box" if colour else "box bare"})
    ET.SubElement(group, "title").text = _clean("\n".join(_about(box, unit)))
    place = {"x": f"{x - BOX_WIDTH / 2:.1f}", "y": f"{y - BOX_HEIGHT / 2:.1f}"}
    place |= {"width": f"{BOX_WIDTH:.0f}", "height": f"{BOX_HEIGHT:.0f}"}
    ET.SubElement(group, "rect", {**place, "rx": "6", **({"fill": colour} if colour else {})})
    _text(group, _short(name, box.kind), x, y - 3)
    _text(group, " · ".join(filter(None, (box.kind[:LONGEST_KIND], _precision(box)))), x, y + 12, "kind")


def _precision(box: Box) -> str:
    parts = [
        f"{letter}{bits:.3g}"
        for letter, bits in (("W", box.weight_bits), ("A", box.output_bits))
        if bits is not None
    ]
    if box.energy is not None:
        parts.append(f"E {box.energy:.3g}")
    return " ".join(parts)


def _about(box: Box, unit: str | None) -> list[str]:
    lines = [box.name, box.kind]
    if box.weight_bits is not None:
        lines.append(f"weights: {box.weight_bits:.4g} bits")
    if box.output_bits is not None:
        lines.append(f"output: {box.output_bits:.4g} bits")
    if box.energy is not None:
        lines.append(f"energy per MAC: {box.energy:.4g} {unit or ''}".rstrip())
    if box.macs is not None:
        lines.append(f"MACs an example: {box.macs:,}")
    if len(box.members) > 1:
        lines.append(f"nodes: {', '.join(box.members)}")
    return lines


def _text(parent: ET.Element, text: str, x: float, y: float, kind: str | None = None) -> None:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", **({"class": kind} if kind else {})}
    ET.SubElement(parent, "text", place).text = _clean(text)


def _shared_beginning(names: Sequence[str]) -> str:
    """What most names begin with, up to a dot or a slash: it tells nothing."""
    shared = ""
    while True:
        parts = [
            re.match(r"[./]*[^./]+[./]", name.removeprefix(shared))
            for name in names
            if name.startswith(shared)
        ]
        counts = Counter(part[0] for part in parts if part is not None)
        if not counts or counts.most_common(1)[0][1] <= len(names) / 2:
            return shared
        shared += counts.most_common(1)[0][0]


def _short(name: str, kind: str) -> str:
    """Without the type at its end, which stands below, and what is too long left out in the middle."""
    found = re.sub(rf"(?<=.)[./]{re.escape(kind.partition(' + ')[0])}$", "", name)
    if len(found) <= LONGEST_NAME:
        return found
    return f"{found[:NAME_START]}…{found[NAME_START + 1 - LONGEST_NAME :]}"


def _clean(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(each if each.isprintable() or each == "\n" else "�" for each in text)
