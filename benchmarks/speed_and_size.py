"""Speed of quantized ResNet-20 files against the float file, interleaved in one run, and the bytes that weights take.

python benchmarks/speed_and_size.py
"""

import statistics
import time

import numpy as np
import onnx
from resnet20 import OUTPUT, TEST, TRAIN, exported
from tabulate import tabulate

import mpq_onnx
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runtime.session import Runner

ROUNDS = 15
BATCH = 100
BUDGETS = ((4.0, 8.0), (3.0, 8.0), (4.0, 4.0))
GRANULARITIES = ("layer", "channel")


def weight_bytes(path: str) -> int:
    """Bytes of the stored weights: what the file holds for them beside scales, zero points and widths."""
    names = {
        node.weight for node in mpq_onnx.load_allocation(path.replace("model.onnx", "allocation.json")).nodes
    }
    stored = {f"{name}{suffix}" for name in names for suffix in ("_quantized", "_packed")}
    initializers = load_model(path).graph.initializers
    return sum(
        value.const_value.nbytes
        for name, value in initializers.items()
        if name in stored and value.const_value
    )


def main() -> None:
    model = exported()
    images = load_float_model(model).open_data(f"{TEST}?count=500")
    batches = [batch.inputs for batch in images.batches(BATCH)]
    rows = []
    for weight_bits, activation_bits in BUDGETS:
        for granularity in GRANULARITIES:
            runners = {"float": Runner(model, "cpu")}
            for storage in ("int8", "packed"):
                folder = OUTPUT / f"speed_{storage}_w{weight_bits:g}a{activation_bits:g}_{granularity}"
                if not (folder / "model.onnx").is_file():
                    options = mpq_onnx.AllocateOptions(
                        method="water-filling", granularity=granularity, rounding="nearest", storage=storage
                    )
                    mpq_onnx.allocate(
                        model,
                        f"{TRAIN}?count=512",
                        folder,
                        weight_bits=weight_bits,
                        activation_bits=activation_bits,
                        options=options,
                        overwrite=True,
                    )
                onnx.checker.check_model(folder / "model.onnx", full_check=True)
                runners[storage] = Runner(folder / "model.onnx", "cpu")
            times: dict[str, list[float]] = {name: [] for name in runners}
            for _ in range(ROUNDS):
                for name, runner in runners.items():
                    start = time.perf_counter()
                    for feeds in batches:
                        runner.run(feeds)
                    times[name].append(time.perf_counter() - start)
            median = {name: statistics.median(each) for name, each in times.items()}
            packed = OUTPUT / f"speed_packed_w{weight_bits:g}a{activation_bits:g}_{granularity}"
            allocation = mpq_onnx.load_allocation(packed / "allocation.json")
            widths = np.concatenate(
                [np.atleast_1d(node.weight_bits) for node in allocation.nodes if node.weight]
            )
            stored = weight_bytes(str(packed / "model.onnx"))
            rows.append(
                [
                    f"W{weight_bits:g} A{activation_bits:g}",
                    granularity,
                    f"{widths.min():g}-{widths.max():g}",
                    f"{len(images) / median['float']:.0f}",
                    f"{median['float'] / median['int8']:.2f}",
                    f"{median['float'] / median['packed']:.2f}",
                    allocation.weight_bytes,
                    f"{stored} ({100 * (stored / allocation.weight_bytes - 1):+.2f} %)",
                    (packed / "model.onnx").stat().st_size,
                ]
            )
    headers = [
        "budget", "widths by", "widths", "float images/s", "int8 speed-up", "packed speed-up", "promised bytes",
        "packed weight bytes", "packed file bytes",
    ]  # fmt: skip
    print(tabulate(rows, headers))


if __name__ == "__main__":
    main()
