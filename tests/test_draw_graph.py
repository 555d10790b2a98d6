"""report --graph: an SVG of a file's graph, whoever quantized it."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.report.graph_svg import COLOURS
from mpq_onnx.report.layered_layout import arrange

SVG = "{http://www.w3.org/2000/svg}"


class Picture:
    """The boxes of an SVG: what each says on hover, its colour and its place."""

    def __init__(self, path: Path) -> None:
        self.root = ET.parse(path).getroot()
        self.boxes: dict[str, tuple[list[str], str | None]] = {}
        self.places = []
        for group in self.root.iter(f"{SVG}g"):
            title, rectangle = group.find(f"{SVG}title"), group.find(f"{SVG}rect")
            assert rectangle is not None
            if title is not None and title.text:
                name, *lines = title.text.splitlines()
                self.boxes[name] = lines, rectangle.get("fill")
                self.places.append([float(rectangle.get(each, "")) for each in ("x", "y", "width", "height")])
        self.edges = sum(path.get("class") == "head" for path in self.root.iter(f"{SVG}path"))


@pytest.fixture(scope="module")
def digital(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path, image_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "out"
    mpq_onnx.allocate(
        cnn_file, f"npz:{image_file}?count=64", folder, weight_bits=3, activation_bits=5,
        options=mpq_onnx.AllocateOptions(method="water-filling", rounding="nearest"),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory, digital: Path, image_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "noisy"
    options = mpq_onnx.EnergyOptions(("shot",), method="closed-form", granularity="channel", repeats=2)
    mpq_onnx.allocate_energy(
        digital / "model.onnx", f"npz:{image_file}?count=64", folder, energy_per_mac=5, options=options
    )
    return folder


def test_8_and_16_bits_have_colours_of_their_own(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    mpq_onnx.allocate(
        cnn_file, f"npz:{image_file}?count=32", tmp_path / "out", weight_bits=8, activation_bits=16,
        options=mpq_onnx.AllocateOptions(
            method="uniform", rounding="nearest", activation_bit_choices=(16,), exclude=("stem",)
        ),
    )  # fmt: skip
    mpq_onnx.draw_graph(tmp_path / "out" / "model.onnx", tmp_path / "graph.svg")
    legend = re.findall(r">(\d+)( and more)? bits<", (tmp_path / "graph.svg").read_text())
    assert legend == [("8", ""), ("16", "")]
    colours = {colour for _, colour in Picture(tmp_path / "graph.svg").boxes.values()} - {None}
    assert len(colours) == 2


def test_every_operator_shows_its_bits(digital: Path, tmp_path: Path) -> None:
    done = run_inside("report", "--graph", digital / "model.onnx", "-o", tmp_path / "graph.svg")
    assert done.returncode == 0 and "coloured by bits" in done.stdout, done.stderr
    picture = Picture(tmp_path / "graph.svg")
    allocation = mpq_onnx.load_allocation(digital / "allocation.json")
    widths = {node.node: node.weight_bits for node in allocation.nodes if node.weight_bits is not None}
    assert widths and set(widths) <= set(picture.boxes)
    for name, bits in widths.items():
        lines, colour = picture.boxes[name]
        assert f"weights: {bits:g} bits" in lines and colour == COLOURS[min(round(bits), 8) - 2]
    # The quantizers are in the boxes of what they quantize, as is an activation function.
    operators = [lines[0] for lines, _ in picture.boxes.values()]
    assert not any("Quantize" in each for each in operators) and "Conv + Relu" in operators
    outputs = {
        each.activation: each.activation_bits for each in allocation.nodes if each.activation is not None
    }
    assert f"output: {outputs['images']:g} bits" in picture.boxes["images"][0]
    mpq_onnx.draw_graph(digital / "model.onnx", tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "graph.svg").read_bytes()


def test_a_noisy_file_shows_its_energies(noisy: Path, tmp_path: Path) -> None:
    result = mpq_onnx.draw_graph(noisy / "model.onnx", tmp_path / "graph.svg", title="with <noise>")
    assert result.coloured_by == "energy"
    picture = Picture(tmp_path / "graph.svg")
    energies = {
        node.node: node.mean_energy_per_mac
        for node in mpq_onnx.load_energy_allocation(noisy / "energy.json").nodes
    }
    for name, (lines, colour) in picture.boxes.items():
        assert (colour is not None) == (name in energies)
        if name in energies:
            assert f"energy per MAC: {energies[name]:.4g} photons" in lines
    order = sorted(energies, key=lambda name: energies[name])
    colours = [COLOURS.index(picture.boxes[name][1] or "") for name in order]
    assert colours == sorted(colours) and colours[0] == 0
    assert "with &lt;noise&gt;" in (tmp_path / "graph.svg").read_text()
    assert "prefers-color-scheme: dark" in (tmp_path / "graph.svg").read_text()


def test_a_float_file_and_one_of_others(cnn_file: Path, tmp_path: Path) -> None:
    mpq_onnx.draw_graph(cnn_file, tmp_path / "graph.svg")
    assert {colour for _, colour in Picture(tmp_path / "graph.svg").boxes.values()} == {None}
    scale, zero = helper.make_tensor("s", 1, [], [0.1]), helper.make_tensor("z", TensorProto.INT8, [], [0])
    weight = helper.make_tensor("w", TensorProto.INT8, [4, 4], np.arange(16, dtype=np.int8))
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], "xq"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], "xd"),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"], "wd"),
        helper.make_node("MatMul", ["xd", "wd"], ["y"], "\u0001odd & named"),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 4])], [helper.make_tensor_value_info("y", 1, [1, 4])],
        [scale, zero, weight],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "other.onnx")
    mpq_onnx.draw_graph(tmp_path / "other.onnx", tmp_path / "other.svg")
    boxes = Picture(tmp_path / "other.svg").boxes
    assert "output: 8 bits" in boxes["x"][0]
    (lines,) = [lines for name, (lines, _) in boxes.items() if name.endswith("odd & named")]
    assert "weights: 8 bits" in lines


def test_boxes_of_a_long_graph_stand_apart(tmp_path: Path) -> None:
    """Three hundred operators with shortcuts, and one edge to all of them."""
    count = 300
    edges = [(node, node + 1) for node in range(1, count)] + [
        (node, node + 3) for node in range(1, count - 3, 3)
    ]
    edges += [(0, node) for node in range(5, count, 10)]
    layout = arrange(count + 1, edges, 3.0)
    width, height = sum(layout.widths), layout.rows
    assert 0.7 < width * 3.0 / height < 3
    by_row: dict[tuple[int, int], list[float]] = {}
    for place in layout.boxes:
        assert place.x - 0.5 >= -1e-9 and place.x + 0.5 <= layout.widths[place.column] + 1e-9
        by_row.setdefault((place.column, place.row), []).append(place.x)
    for row in by_row.values():
        assert all(gap >= 1 for gap in np.diff(sorted(row)))
    for (source, target), way in zip(edges, layout.edges, strict=True):
        assert (way[0], way[-1]) == (layout.boxes[source], layout.boxes[target])
        depth = [place.column * layout.rows + place.row for place in way]
        assert depth == sorted(set(depth))


def test_wrong_usage_and_files(tmp_path: Path, cnn_file: Path) -> None:
    out = tmp_path / "x.svg"
    assert_one_line(run_inside("report", "-o", out), 2, "--graph")
    assert_one_line(run_inside("report", tmp_path, "--graph", cnn_file, "-o", out), 2, "--graph")
    assert_one_line(
        run_inside("report", "--graph", cnn_file, "--figures", tmp_path, "-o", out), 2, "--figures"
    )
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert_one_line(run_inside("report", "--graph", tmp_path / "broken.onnx", "-o", out), 3, "broken.onnx")
    assert not out.exists()
    assert re.search(r"--graph FILE", run_inside("report", "--help").stdout)
