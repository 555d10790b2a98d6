"""The pictures of docs/: a sweep's report page as people see it, and a network's graph coloured by bits and by energy.

Needs ResNet-20 and the CIFAR-10 images (see docs/benchmarks.md), and Chromium on PATH.

    python benchmarks/pictures.py       # about ten minutes on two cores; what was swept before is kept
"""

import sys
from pathlib import Path

from resnet20 import OUTPUT, TEST, TRAIN, exported

import mpq_onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from chromium import View, find_chromium, picture_of

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
CONFIGURATION = {
    "data": f"{TRAIN}?count=256", "validation": f"{TRAIN}?count=512", "test": f"{TEST}?count=1000", "effort": "quick",
    "cases": [
        {"weight_bits": [3, 4], "activation_bits": 8, "granularity": ["layer", "channel"]},
        {"weight_bits": 3, "activation_bits": 8, "method": "uniform"},
        {"weight_bits": 4, "activation_bits": 4},
        {"noise": "shot", "energy_per_mac": [5, 20], "per_channel": [False, True], "method": "closed-form", "repeats": 3},
    ],
}  # fmt: skip
COMPARE = """
const chosen = [["first", "0"], ["second", "1"]];
for (const [id, run] of chosen) document.getElementById(id).value = run;
document.getElementById("second").dispatchEvent(new Event("change"));
for (const each of document.querySelectorAll("body > :not(section)")) each.hidden = true, each.style.display = "none";
"""
"""Two runs side by side, and nothing else."""


def main() -> None:
    """Sweep, report, look."""
    if find_chromium() is None:
        sys.exit("Chromium is not on PATH: install Debian's package chromium, or another of it")
    model, folder = exported(), OUTPUT / "pictures"
    mpq_onnx.sweep(model, CONFIGURATION, folder / "sweep")
    page = folder / "report.html"
    mpq_onnx.report_folder(folder / "sweep", page)
    PICTURES.mkdir(exist_ok=True)
    picture_of(View(page, 1400, height=1500), PICTURES / "report-light.png")
    picture_of(View(page, 400, height=1900), PICTURES / "report-dark-narrow.png", "dark")
    picture_of(View(page, 1400, COMPARE, height=1260), PICTURES / "two-runs-dark.png", "dark")
    for run, name in (("0001", "graph-bits"), ("0008", "graph-energy")):
        source = folder / "sweep" / "runs" / run / "model.onnx"
        mpq_onnx.draw_graph(
            source, PICTURES / f"{name}.svg", title=f"ResNet-20, {name.removeprefix('graph-')}"
        )
    for path in sorted(PICTURES.iterdir()):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
