"""ResNet-20 at W4 A8 through every hand-off target, and the tools that the files are for run on them.

python benchmarks/handoff_table.py        # some minutes; needs `make test` or its environment .venv-simulators first
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from resnet20 import FILES, OUTPUT, TEST, TRAIN, exported
from tabulate import tabulate

import mpq_onnx
from mpq_onnx.handoff_targets import TARGETS

FOLDER = OUTPUT / "handoff"
TOOLS = Path(f"{sys.prefix}-simulators") / "bin" / "python"
SCRIPTS = Path(__file__).resolve().parents[1] / "tests" / "simulators"
FORMS = {
    "hardware": (4, 8, {"weight_scheme": "symmetric", "activation_scheme": "symmetric-unsigned"}),
    "tensorrt": (
        6,
        8,
        {
            "weight_scheme": "symmetric",
            "activation_scheme": "symmetric",
            "bit_choices": (4, 8),
            "activation_bit_choices": (8,),
        },
    ),
}


def tool(script: str, *arguments: object) -> dict:
    result = subprocess.run(
        [TOOLS, SCRIPTS / script, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return json.loads(result.stdout.strip().splitlines()[-1])


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    model = exported(FILES[0])
    rows = []
    for form, (weight_bits, activation_bits, options) in FORMS.items():
        result = mpq_onnx.allocate(
            model,
            TRAIN,
            FOLDER / form,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            options=mpq_onnx.AllocateOptions(method="water-filling", **options),
            overwrite=True,
        )
        found = mpq_onnx.evaluate(result.model_path, TEST, baseline=model).evaluation
        allocation = result.chosen.allocation
        print(
            f"{form}: top-1 {100 * found.metrics['top1'].value:.2f} (float {100 * found.comparison.metrics['top1'].value:.2f}),"
            f" mean {allocation.mean_weight_bits:.3f} bits a weight, {allocation.weight_bytes:,} bytes of weights,"
            f" {allocation.bit_operations / 1e9:.4g} GBOPs"
        )
        for target in TARGETS:
            place = FOLDER / f"{form}-{target}"
            try:
                written = mpq_onnx.handoff(result.model_path, place, to=target, data=TEST, overwrite=True)
            except mpq_onnx.MpqOnnxError as error:
                rows.append(
                    [form, target, "", "refused: " + str(error).partition("cannot express ")[2][:60] + " ..."]
                )
                continue
            size = sum(
                bytes_ for path, bytes_ in written.files.items() if not path.startswith(("golden", "card"))
            )
            rows.append([form, target, f"{size:,}", seen(target, place, written, allocation)])
    print(tabulate(rows, ["file", "target", "bytes", "what the tool says"]))


def seen(target: str, place: Path, written: mpq_onnx.HandoffResult, allocation: mpq_onnx.Allocation) -> str:
    """One line of what reads the file."""
    if target in ("qonnx", "qcdq"):
        found = tool("run_qonnx.py", place, target)
        # Weights that are exactly zero are counted; their cost is the allocation's own BOPs.
        return (
            f"qonnx: largest difference from the golden outputs {found['difference']:g},"
            f" {found['bit_operations'] / 1e9:.4g} GBOPs, {found['weight_bits'] / 8:,.0f} bytes of weights"
        )
    if target == "zigzag":
        layers = tool("run_zigzag.py", place / "workload.onnx")
        widths = [layer["precision"]["W"] for layer in layers.values()]
        wanted = [node.weight_bits for node in allocation.nodes if node.weight is not None]
        return (
            f"zigzag: {len(layers)} layers, weight widths as allocated: {'yes' if widths == wanted else 'no'}"
        )
    if written.largest_difference is None:
        return f"{len([path for path in written.files if path.endswith(('.yaml', 'layers.csv', 'layers.json'))])} files"
    return f"onnxruntime: largest difference from the golden outputs {written.largest_difference:g}"


if __name__ == "__main__":
    main()
