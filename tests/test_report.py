"""report: one page that needs nothing else, for one run and for many; figures as files."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.report.page import MOST_RUNS


class Page(HTMLParser):
    """What a page holds: elements by tag, cells by row, scripts, and everything that it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self.fetched: list[str] = []
        self.scripts: list[str] = []
        self.rows: list[list[str]] = []
        self.best: list[bool] = []
        self.folded: list[bool] = []
        """Of the headings of the table."""
        self.heads: list[str] = []
        self.facts = ""
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        given = dict(attributes)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.fetched.append(value)
        if tag not in ("meta", "input", "br"):
            self._inside.append(tag)
        if tag == "script":
            self.scripts.append("")
        elif tag == "tr" and "tbody" in self._inside:
            self.rows.append([])
            self.best.append(given.get("class") == "best")
        elif tag in ("td", "th") and "tbody" in self._inside:
            self.rows[-1].append("")
        elif tag == "th" and "thead" in self._inside:
            self.heads.append("")
            self.folded.append("folded" in (given.get("class") or ""))

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, text: str) -> None:
        if self._inside[-1:] == ["script"]:
            self.scripts[-1] += text
        elif "tbody" in self._inside and self.rows and self.rows[-1]:
            self.rows[-1][-1] += text
        elif "thead" in self._inside and self.heads:
            self.heads[-1] += text
        elif "dl" in self._inside:
            self.facts += text

    @property
    def data(self) -> dict:
        """What the figures are drawn from."""
        return json.loads(self.scripts[0])


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
    names = {Path(path).name for path in document["figures"]}
    assert {
        "front-bit_operations.svg",
        "front-weight_bytes.svg",
        "0001-weight-bits.svg",
        "0001-activation-bits.svg",
        "0001-snr.svg",
        "0003-energy.svg",
        "0003-energy-shares.svg",
        "0003-energy-against-fan_in.svg",
        "0003-equivalent-bits.svg",
    } <= names
    assert all("<svg" in Path(path).read_text() for path in document["figures"])


@pytest.fixture(scope="module")
def swept_page(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    mpq_onnx.report_folder(swept, path)
    return path


def test_a_sweeps_page_says_what_it_holds(
    swept: Path, swept_page: Path, cnn_file: Path, image_file: Path
) -> None:
    text = swept_page.read_text()
    page, rows = Page(text), [json.loads(line) for line in (swept / "results.jsonl").read_text().splitlines()]
    assert page.fetched == [] and page.counts["h1"] == 1 and page.counts["figure"] == 2
    assert all(each in page.facts for each in (cnn_file.name, f"npz:{image_file.name}?count=64", " UTC"))
    assert f"{rows[0]['examples']} examples of the validation data" in page.facts
    reached = [f"{100 * row['top1']:.1f}\N{NO-BREAK SPACE}%" for row in rows]
    assert [row[0] for row in page.rows] == [
        f"W2 A8, uniform, {reached[0]}",
        f"W4 A8, uniform, {reached[1]}",
        f"shot noise, 5 photons a MAC, energies by channel, closed-form, {reached[2]}",
    ]
    assert page.heads[:3] == ["run", "top-1, %", "weights, B"] and page.folded[:3] == [False] * 3
    assert [float(row[2].replace(",", "")) if row[2] else None for row in page.rows] == [
        row.get("weight_bytes") for row in rows
    ]
    for row, cells in zip(rows, page.rows, strict=True):
        assert cells[1].split() == [f"{100 * row[name]:.2f}" for name in ("top1", "top1_low")] + [
            "to",
            f"{100 * row['top1_high']:.2f}",
        ]
    assert page.best == [row["pareto"] for row in rows]


def test_bits_and_energies_have_figures_of_their_own_and_axes_to_choose(swept_page: Path) -> None:
    bits, energies = Page(swept_page.read_text()).data["fronts"]
    assert {axis["key"] for axis in bits["axes"]} == {"weight_bytes", "bit_operations", "mean_weight_bits"}
    assert bits["axes"][0]["key"] == "weight_bytes" and len(bits["values"]) == 2
    assert [axis["label"] for axis in energies["axes"]] == ["energy per MAC, photons"]
    assert list(bits["reference"]) == ["float"] and list(energies["reference"]) == ["noise-free"]


def test_any_two_runs_can_be_held_side_by_side(swept: Path, swept_page: Path) -> None:
    data = Page(swept_page.read_text()).data
    charts = [{chart["name"]: chart for chart in run["charts"]} for run in data["runs"]]
    for name, chart in zip(("0001", "0002"), charts, strict=False):
        allocation = mpq_onnx.load_allocation(swept / "runs" / name / "allocation.json")
        wanted = {node.node: node.weight_bits for node in allocation.nodes if node.weight_bits is not None}
        layers = data["layers"][chart["weight-bits"]["layers"]]
        assert dict(zip(layers, chart["weight-bits"]["series"][0]["values"], strict=True)) == wanted
    assert charts[0]["weight-bits"]["layers"] == charts[1]["weight-bits"]["layers"]  # stored once
    energy = mpq_onnx.load_energy_allocation(swept / "runs" / "0003" / "energy.json")
    (series,) = charts[2]["energy"]["series"]
    assert series["values"] == pytest.approx([node.mean_energy_per_mac for node in energy.nodes], rel=1e-4)
    assert series["mean"] == pytest.approx(energy.mean_energy_per_mac)
    energies, macs = (each["values"] for each in charts[2]["energy-shares"]["series"])
    assert sum(energies) == pytest.approx(100, abs=0.1) and sum(macs) == pytest.approx(100, abs=0.1)
    cards = [
        {(data["texts"][part], data["texts"][name]): data["texts"][text] for part, name, text in run["card"]}
        for run in data["runs"]
    ]
    assert cards[0]["weights", "bits"] != cards[1]["weights", "bits"]


def test_many_runs_make_no_huge_page(swept: Path, tmp_path: Path) -> None:
    """What a run adds is a few kilobytes; the most of the page is plotly, once."""
    rows = [json.loads(line) for line in (swept / "results.jsonl").read_text().splitlines()]
    many = tmp_path / "many"
    (many / "runs").mkdir(parents=True)
    copies = [{**row, "run": f"{row['run']}-{copy}"} for copy in range(34) for row in rows]
    for row in copies:
        (many / "runs" / row["run"]).symlink_to(swept / "runs" / row["run"][:4])
    sizes = []
    for count in (3, 102):
        (many / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in copies[:count]))
        sizes.append(mpq_onnx.report_folder(many, tmp_path / "many.html").bytes)
    page = Page((tmp_path / "many.html").read_text())
    assert len(page.rows) == 102 and len(page.data["runs"]) == MOST_RUNS
    assert sizes[0] < 6_000_000 and (sizes[1] - sizes[0]) / 99 < 8_000


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
    page = Page((tmp_path / "report.html").read_text())
    titles = [row[0] for row in page.rows]
    assert titles[0].startswith("W3 A5, uniform, ") and titles[-1].startswith("W3 A5, water-filling, ")
    assert sum(page.best) == 1
    assert "labels from the data" in page.facts
    said = json.loads((allocated / "result.json").read_text())["notes"]
    (run,) = page.data["runs"]
    assert said and [page.data["texts"][each] for each in run["notes"]] == said
    (front,) = page.data["fronts"]
    assert front["bestLabel"] == "kept" and len(front["axes"][0]["best"]) == 1
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in written.figures)
    assert {Path(path).name for path in written.figures} == {
        "front-bit_operations.png",
        "front-weight_bytes.png",
        "front-activation_bytes.png",
        "front-mean_weight_bits.png",
        "front-mean_activation_bits.png",
        "out-weight-bits.png",
        "out-activation-bits.png",
        "out-snr.png",
    }


def test_titles_and_names_are_escaped(swept: Path, tmp_path: Path) -> None:
    row = json.loads((swept / "results.jsonl").read_text().splitlines()[0])
    row["kept"] = row["error"] = "</script><script>alert(1)</script>"
    row |= {"weight_bits": None, "max": ["<script>alert(2)</script>=1"]}
    (tmp_path / "runs").symlink_to(swept / "runs")
    (tmp_path / "results.jsonl").write_text(json.dumps(row) + "\n")
    mpq_onnx.report_folder(tmp_path, tmp_path / "report.html", title="<script>alert(3)</script>")
    text = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in text
    assert "alert(2)" in Page(text).data["runs"][0]["title"]


def test_folders_without_results(tmp_path: Path) -> None:
    assert_one_line(run_inside("report", tmp_path, "-o", tmp_path / "x.html"), 3, "results.jsonl")
    (tmp_path / "result.json").write_text('{"nodes": 3}')
    assert_one_line(run_inside("report", tmp_path, "-o", tmp_path / "x.html"), 3, "cannot be read")
    assert_one_line(
        run_inside("report", tmp_path, "-o", tmp_path / "x.html", "--figure-format", "gif"), 2, "gif"
    )
    assert not (tmp_path / "x.html").exists()
