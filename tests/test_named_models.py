"""The networks of the papers, with random weights: canonical form, mirror and onnxruntime agree on every one."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from mpq_onnx.datasets import open_dataset
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.mirror import build_mirror
from mpq_onnx.runs.exporting import export
from mpq_onnx.runtime.session import Runner

pytestmark = pytest.mark.slow


def assert_mirror_agrees(model: ir.Model, spec: str) -> None:
    feeds = open_dataset(spec, model_inputs(model)).read([0, 1]).inputs
    mirror = build_mirror(model)
    with torch.no_grad():
        found = mirror.run(feeds, torch.device("cpu"))
    for ours, wanted in zip(found, Runner(model, "cpu").run(feeds), strict=True):
        np.testing.assert_allclose(ours.numpy(), wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "name",
    [
        "resnet50",
        "mobilenet_v2",
        "shufflenet_v2_x1_0",
        "googlenet",
        "inception_v3",
        "efficientnet_b0",
        "vit_b_16",
    ],
)
def test_torchvision(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export(f"torchvision:{name}", path)
    assert_mirror_agrees(load_model(path), "random?count=2")


@pytest.mark.parametrize(
    "source", ["pytorchcv:resnet50", "transformers:bert", "dlrm?tables=50,60,70&numeric=5"]
)
def test_other_sources(source: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export(source, path, sequence_length=16)
    assert_mirror_agrees(load_model(path), "random?count=2")
