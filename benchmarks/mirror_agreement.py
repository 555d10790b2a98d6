"""Does the mirror compute what onnxruntime computes on the final graph? ResNet-20, all CIFAR-10 test images.

    python benchmarks/mirror_agreement.py

Optimized: top-1 of both and the share of equal predictions. Unoptimized: every quantized activation is compared integer by
integer. Images whose integers are all equal may differ in their logits by float rounding only; in every other image the
first integers that differ must come from values on a rounding edge (their distance to it, in steps, is reported).
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from resnet20 import OUTPUT, TEST, TRAIN, exported
from torch import fx

import mpq_onnx
from mpq_onnx.datasets import Dataset, open_dataset
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.mirror import Mirror, build_mirror
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.tensors import read_tensors, runner_with_outputs

BUDGETS = ((8.0, 8.0), (4.0, 8.0), (3.0, 8.0), (2.5, 8.0), (4.0, 4.0))
BATCH = 100


class Recorder(fx.Interpreter):
    """Keeps the values of some fx nodes."""

    def __init__(self, mirror: Mirror, tensors: list[str]) -> None:
        super().__init__(mirror.module)
        self.names = {mirror.values[tensor]: tensor for tensor in tensors}
        self.found: dict[str, np.ndarray] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n in self.names:
            self.found[self.names[n]] = result.numpy()
        return result


def quantized_file(model: Path, weight_bits: float, activation_bits: float) -> Path:
    folder = OUTPUT / f"agreement_w{weight_bits:g}a{activation_bits:g}"
    if not (folder / "model.onnx").is_file():
        mpq_onnx.allocate(
            model,
            TRAIN,
            folder,
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            options=mpq_onnx.AllocateOptions(method="water-filling"),
            overwrite=True,
        )
    return folder / "model.onnx"


def predictions(model: ir.Model, mirror: Mirror, dataset: Dataset) -> dict[str, np.ndarray]:
    """Labels, and the classes that optimized onnxruntime and the mirror choose."""
    runner = Runner(model, "cpu")
    found: dict[str, list[np.ndarray]] = {"labels": [], "onnxruntime": [], "mirror": []}
    for batch in dataset.batches(BATCH):
        assert batch.labels is not None
        with torch.no_grad():
            (simulated,) = mirror.run(batch.inputs, torch.device("cpu"))
        found["labels"].append(batch.labels)
        found["onnxruntime"].append(runner.run(batch.inputs)[0].argmax(axis=1))
        found["mirror"].append(simulated.numpy().argmax(axis=1))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def compare_integers(model: ir.Model, mirror: Mirror, dataset: Dataset) -> str:
    """One line on integers that differ without optimizations."""
    quantizers = [node for node in model.graph if node.op_type == "QuantizeLinear"]
    integers = [str(node.outputs[0].name) for node in quantizers]
    reals = [str(node.inputs[0].name) for node in quantizers]
    scales = [float(node.inputs[1].const_value.numpy()) for node in quantizers]  # type: ignore[union-attr]
    outputs = [str(value.name) for value in model.graph.outputs]
    wanted = list(dict.fromkeys([*integers, *reals, *outputs]))
    runner = runner_with_outputs(model, wanted, "cpu", optimize=False)
    equal_images, largest_equal, largest_any, edges, furthest = 0, 0.0, 0.0, 0, 0.0
    for batch in dataset.batches(BATCH):
        exact = dict(zip(wanted, read_tensors(runner, wanted, batch.inputs), strict=True))
        recorder = Recorder(mirror, [*integers, *outputs])
        with torch.no_grad():
            recorder.run(*(torch.from_numpy(batch.inputs[name]) for name in mirror.inputs))
        difference = np.abs(exact[outputs[0]] - recorder.found[outputs[0]]).max(axis=1)
        undecided = np.ones(batch.examples, bool)
        for integer, real, scale in zip(integers, reals, scales, strict=True):
            unequal = (exact[integer] != recorder.found[integer]).reshape(batch.examples, -1)
            first = unequal.any(axis=1) & undecided
            position = exact[real].reshape(batch.examples, -1)[first][unequal[first]] / scale
            if position.size:
                distance = np.abs(np.abs(position - np.floor(position)) - 0.5)
                edges, furthest = edges + position.size, max(furthest, float(distance.max()))
            undecided &= ~first
        equal_images += int(undecided.sum())
        largest_equal = max(largest_equal, float(difference[undecided].max(initial=0)))
        largest_any = max(largest_any, float(difference.max()))
    return (
        f"unoptimized: {equal_images} of {len(dataset)} images have all integers equal, largest logit difference"
        f" {largest_equal:.2g}; in the others {edges} first differing integers, at most {furthest:.2g} steps from a"
        f" rounding edge (largest logit difference {largest_any:.2g})"
    )


def main() -> None:
    model_path = exported()
    for weight_bits, activation_bits in BUDGETS:
        model = load_model(quantized_file(model_path, weight_bits, activation_bits))
        mirror = build_mirror(model)
        dataset = open_dataset(TEST, model_inputs(model), model.metadata_props)
        found = predictions(model, mirror, dataset)
        top1 = {name: 100 * (found[name] == found["labels"]).mean() for name in ("onnxruntime", "mirror")}
        same = 100 * (found["onnxruntime"] == found["mirror"]).mean()
        print(
            f"W{weight_bits:g} A{activation_bits:g}: top-1 onnxruntime {top1['onnxruntime']:.2f}, mirror"
            f" {top1['mirror']:.2f}; {same:.2f} % same predictions"
        )
        print(f"  {compare_integers(model, mirror, dataset)}", flush=True)


if __name__ == "__main__":
    main()
