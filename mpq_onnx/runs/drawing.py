"""report --graph: a file's graph as an SVG, coloured by bits or energy. No torch here."""

import os
from dataclasses import dataclass
from pathlib import Path

from mpq_onnx.files import check_name, write_text
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.report.drawn_graph import drawn_graph
from mpq_onnx.report.graph_svg import graph_svg


@dataclass(frozen=True)
class DrawGraphResult:
    """What was drawn."""

    path: str
    boxes: int
    """Operators with what is folded into them, inputs and outputs."""
    coloured_by: str
    """bits or energy."""


def draw_graph(
    model: str | os.PathLike[str], output: str | os.PathLike[str], *, title: str | None = None
) -> DrawGraphResult:
    """Draw an ONNX file, whoever quantized it: a box an operator, with its widths or its energy per MAC.

    Args:
        output: the SVG file.
        title: above the picture; the file's name when omitted.

    Raises:
        ModelError: the file cannot be read.
    """
    check_name(output, (".svg",), "the picture")
    graph = drawn_graph(load_model(model))
    write_text(output, graph_svg(graph, title or Path(model).name))
    return DrawGraphResult(str(output), len(graph.boxes), "bits" if graph.energy_unit is None else "energy")
