"""The report page as people see it, in headless Chromium: nothing cut off, no error, legible, and what clicks do."""

import json
from pathlib import Path

import pytest
from chromium import View, find_chromium, look_at

import mpq_onnx

pytestmark = pytest.mark.skipif(
    find_chromium() is None,
    reason="no Chromium on PATH (Debian's package chromium); the page is tested without, too",
)
WIDTHS = (400, 800, 1400)
PAGES = (1, 8, 100)
"""Runs of each."""
LEAST_CONTRAST = 4.5
"""WCAG's, of text this small."""
CONTRAST = """
  const numbers = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const linear = each => each <= .03928 ? each / 12.92 : ((each + .055) / 1.055) ** 2.4;
  const light = text => {
    const [r, g, b] = numbers(text).map(each => linear(each / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  const ratio = text => (Math.max(light(text), ground) + .05) / (Math.min(light(text), ground) + .05);
  const texts = [...document.querySelectorAll(".legendtext, .xtick text, .ytick text, .xtitle, .ytitle")];
  const written = [...document.querySelectorAll("h1, dt, dd, td, figcaption")];
  return [texts.length, Math.min(...texts.map(each => ratio(getComputedStyle(each).fill))),
    Math.min(...written.map(each => ratio(getComputedStyle(each).color)))];
"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path, image_file: Path) -> dict[int, Path]:
    """A page by its number of runs: real ones of bits and of energies, and copies of them."""
    folder = tmp_path_factory.mktemp("pages")
    mpq_onnx.sweep(
        cnn_file,
        {
            "data": f"npz:{image_file}?count=64", "rounding": "nearest", "effort": "quick",
            "cases": [
                {"weight_bits": 3, "activation_bits": [5, 8], "granularity": "channel"},
                {"noise": "shot", "energy_per_mac": [5, 50], "per_channel": True, "method": "closed-form", "repeats": 2},
            ],
        },
        folder / "sweep",
    )  # fmt: skip
    rows = [json.loads(line) for line in (folder / "sweep" / "results.jsonl").read_text().splitlines()]
    found = {}
    for count in PAGES:
        place = folder / str(count)
        (place / "runs").mkdir(parents=True)
        copies = [{**rows[index % 4], "run": f"{index:04d}", "seed": index // 4} for index in range(count)]
        for index, row in enumerate(copies):
            (place / "runs" / str(row["run"])).symlink_to(folder / "sweep" / "runs" / rows[index % 4]["run"])
        (place / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in copies))
        found[count] = folder / f"{count}.html"
        mpq_onnx.report_folder(place, found[count])
    return found


SOME = ((1, 400), (8, 800), (100, 400), (100, 1400))
ALL = tuple((count, width) for count in PAGES for width in WIDTHS)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
@pytest.mark.parametrize("chosen", [SOME, pytest.param(ALL, marks=pytest.mark.slow)], ids=["some", "all"])
def test_nothing_is_cut_off_and_all_is_legible(
    pages: dict[int, Path], chosen: tuple[tuple[int, int], ...], scheme: str
) -> None:
    views = [View(pages[count], width, ask=CONTRAST) for count, width in chosen]
    for view, seen in zip(views, look_at(views, scheme), strict=True):
        assert seen.troubles == [] and seen.past == [] and seen.scroll <= seen.width == view.width, view
        drawn, in_figures, elsewhere = seen.answer
        assert drawn > 20 and min(in_figures, elsewhere) >= LEAST_CONTRAST, (view, seen.answer)


def test_clicks(pages: dict[int, Path]) -> None:
    page = pages[8]
    choose = "const s = document.{0}; s.value = {1}; s.dispatchEvent(new Event('change'));"
    front = "querySelector('figure[data-front=\"0\"] select')"
    bars = "plot.data.filter(each => each.type === 'bar').length"
    traces = f"return [...document.querySelectorAll('#charts .plot')].map(plot => {bars});"
    title = "return document.querySelector('.xtitle').textContent;"
    views = [
        View(page, 800, ask=traces),
        View(page, 800, choose.format("getElementById('second')", "'1'"), traces),
        View(page, 800, choose.format(front, "'mean_activation_bits'"), title),
        View(page, 800, "Plotly.Fx.hover(document.querySelector('.plot'), [{curveNumber: 0, pointNumber: 0}]);",
             "return document.querySelector('.hovertext').textContent;"),
        View(page, 800, "document.querySelectorAll('thead th')[1].click();",
             "return [...document.querySelectorAll('tbody tr')].map(row => Number(row.cells[1].dataset.value));"),
        View(page, 800, "document.querySelectorAll('a[data-run]')[2].click();",
             "return document.getElementById('first').selectedOptions[0].textContent;"),
        View(page, 400, "document.getElementById('all').click();",
             "return [...document.querySelectorAll('tbody tr:first-child td')].every(each => each.offsetWidth > 0);"),
    ]  # fmt: skip
    alone, compared, axis, hovered, sorted_by, clicked, everything = (each for each in look_at(views))
    assert alone.answer == [1, 1, 1] and compared.answer == [2, 2, 2]
    assert axis.answer == "activation bits"
    assert "W3 A" in hovered.answer and "top-1, %" in hovered.answer
    assert sorted_by.answer == sorted(sorted_by.answer) and len(sorted_by.answer) == 8
    assert clicked.answer.startswith("shot noise, 5 photons a MAC")
    assert everything.answer is True and everything.scroll <= everything.width
    assert all(
        each.troubles == [] for each in (alone, compared, axis, hovered, sorted_by, clicked, everything)
    )


def test_what_is_cut_off_would_be_noticed(pages: dict[int, Path]) -> None:
    wide = "document.querySelector('h1').style.width = '3000px'; console.error('oh');"
    (seen,) = look_at([View(pages[1], 800, before=wide)])
    assert seen.troubles == ["oh"] and seen.scroll > seen.width and seen.past


def test_a_drawn_graph(cnn_file: Path, tmp_path: Path) -> None:
    mpq_onnx.draw_graph(cnn_file, tmp_path / "graph.svg")
    ask = "return [...document.querySelectorAll('g.box title')].length;"
    (seen,) = look_at([View(tmp_path / "graph.svg", 1400, ask=ask)], "dark")
    assert seen.troubles == [] and seen.past == [] and seen.answer > 5
