"""report: one page that needs nothing else, for one run and for many; figures as files."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_cli import assert_one_line, run_inside

import mpq_onnx


class Page(HTMLParser):
    """Counts elements, and notes everything that the page would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        for name, value in attributes:
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.fetched.append(value)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path, image_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("report") / "sweep"
    mpq_onnx.sweep(
        cnn_file,
        {
            "data": f"npz:{image_file}?count=64", "method": "uniform", "rounding": "nearest",
            "cases": [
                {"weight_bits": [2, 4], "activation_bits": 8},
                {"noise": "shot", "energy_per_mac": 5, "per_channel": True, "method": "closed-form", "repeats": 2},
            ],
        },
        folder,
    )  # fmt: skip
    return folder


def test_a_sweeps_report(swept: Path, tmp_path: Path) -> None:
    result = run_inside(
        "report", swept, "-o", tmp_path / "report.html", "--figures", tmp_path / "figures", "--json"
    )
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["runs"] == 3
    mpq_onnx.report_folder(swept, tmp_path / "again.html")
    assert (tmp_path / "report.html").read_bytes() == (tmp_path / "again.html").read_bytes()
    page = Page((tmp_path / "report.html").read_text())
    assert page.fetched == [] and page.counts["details"] == 3
    assert page.counts["svg"] == len(document["figures"])
    names = {Path(path).name for path in document["figures"]}
    assert {
        "front-bit_operations.svg",
        "0001-bits.svg",
        "0001-snr.svg",
        "0003-energy.svg",
        "0003-energy-against.svg",
    } <= names
    assert "0003-equivalent-bits.svg" in names
    text = (tmp_path / "report.html").read_text()
    assert (
        "currentColor" in text and "#010203" not in text and "prefers" not in text and "color-scheme" in text
    )
    body = re.search(r"<tbody>(.*?)</tbody>", text, re.DOTALL)
    assert body is not None and body[1].count("<tr") == 3 and 'class="best"' in body[1]
    assert "aJ" in text  # shot noise has a physical unit


@pytest.fixture(scope="module")
def allocated(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path, image_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("report") / "out"
    mpq_onnx.allocate(
        cnn_file, f"npz:{image_file}?count=64", folder, weight_bits=3, activation_bits=5,
        options=mpq_onnx.AllocateOptions(method="water-filling", rounding="nearest"),
    )  # fmt: skip
    return folder


def test_one_runs_report_shows_its_candidates(allocated: Path, tmp_path: Path) -> None:
    written = mpq_onnx.report_folder(
        allocated, tmp_path / "report.html", figures=tmp_path / "figures", figure_format="png"
    )
    text = (tmp_path / "report.html").read_text()
    assert "water-filling" in text and "uniform" in text and "Quantization card" in text
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in written.figures)
    assert {Path(path).name for path in written.figures} == {
        "front-bit_operations.png",
        "front-weight_bytes.png",
        "front-activation_bytes.png",
        "out-bits.png",
        "out-snr.png",
    }


def test_titles_and_names_are_escaped(allocated: Path, tmp_path: Path) -> None:
    mpq_onnx.report_folder(allocated, tmp_path / "report.html", title="<script>alert(1)</script>")
    assert "<script>alert" not in (tmp_path / "report.html").read_text()


def test_folders_without_results(tmp_path: Path) -> None:
    assert_one_line(run_inside("report", tmp_path, "-o", tmp_path / "x.html"), 3, "results.jsonl")
    (tmp_path / "result.json").write_text('{"nodes": 3}')
    assert_one_line(run_inside("report", tmp_path, "-o", tmp_path / "x.html"), 3, "cannot be read")
    assert_one_line(
        run_inside("report", tmp_path, "-o", tmp_path / "x.html", "--figure-format", "gif"), 2, "gif"
    )
    assert not (tmp_path / "x.html").exists()
