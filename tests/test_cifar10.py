"""ResNet-20 on CIFAR-10, a real network on real data; skipped where ../shared is absent."""

from pathlib import Path

import onnx
import pytest

import mpq_onnx

PREPROCESSING = "layout=nhwc&mean=0.485,0.456,0.406&std=0.229,0.224,0.225"


@pytest.mark.parametrize("name", [pytest.param("resnet20", marks=pytest.mark.slow), "resnet20_bn_opset13"])
def test_four_bits_cost_little(name: str, shared_cifar10: Path, tmp_path: Path) -> None:
    model = tmp_path / "float.onnx"
    exported = mpq_onnx.export(str(shared_cifar10 / f"{name}.onnx"), model, preprocess=PREPROCESSING)
    assert exported.largest_difference < 1e-4
    onnx.checker.check_model(model, full_check=True)
    options = mpq_onnx.AllocateOptions(method="water-filling", rounding="nearest")
    result = mpq_onnx.allocate(
        model,
        f"npz:{shared_cifar10 / 'train.npz'}?count=128",
        tmp_path / "out",
        weight_bits=4,
        activation_bits=8,
        options=options,
    )
    assert result.chosen.allocation.mean_weight_bits is not None
    assert result.chosen.allocation.mean_weight_bits <= 4
    assert result.mirror_check.same_predictions > 0.98
    found = mpq_onnx.evaluate(
        result.model_path, f"npz:{shared_cifar10 / 'test.npz'}?count=1000", baseline=model
    ).evaluation
    assert found.comparison is not None and found.comparison.top1_difference is not None
    assert found.comparison.metrics["top1"].value > 0.90
    assert found.comparison.top1_difference.value > -0.02
