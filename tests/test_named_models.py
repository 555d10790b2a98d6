"""The networks of the papers, with random weights: canonical form, mirror and onnxruntime agree on every one."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from mpq_onnx.datasets import open_dataset
from mpq_onnx.mirror import build_mirror
from mpq_onnx.model_file import load_model, model_bytes
from mpq_onnx.model_inputs import model_inputs
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.runtime.session import Runner
from mpq_onnx.workflows.exporting import export
from mpq_onnx.zoo.torch_module import export_module

pytestmark = pytest.mark.slow


def assert_mirror_agrees(model: ir.Model, spec: str) -> None:
    feeds = open_dataset(spec, model_inputs(model)).read([0, 1]).inputs
    mirror = build_mirror(model)
    with torch.no_grad():
        found = mirror.run(feeds, torch.device("cpu"))
    for ours, wanted in zip(found, Runner(model_bytes(model), "cpu").run(feeds), strict=True):
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


def test_pytorchcv_resnet50() -> None:
    from pytorchcv.model_provider import get_model

    torch.manual_seed(0)
    source = export_module(get_model("resnet50", pretrained=False), [torch.randn(2, 3, 224, 224)], "resnet50")
    assert_mirror_agrees(canonicalize(source.model), "random?count=2")


class Classifier(nn.Module):
    """BERT with its dictionary of outputs unpacked."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertForSequenceClassification

        config = BertConfig(
            hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, vocab_size=200,
            attn_implementation="eager",
        )  # fmt: skip
        self.bert = BertForSequenceClassification(config)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.bert(input_ids=input_ids, attention_mask=attention_mask).logits


def test_bert() -> None:
    torch.manual_seed(0)
    example = [torch.randint(0, 200, (2, 16)), torch.ones(2, 16, dtype=torch.int64)]
    assert_mirror_agrees(canonicalize(export_module(Classifier(), example, "bert").model), "random?count=2")


class RecommendationNetwork(nn.Module):
    """The layers of DLRM: bottom MLP, embedding tables, dot interaction, top MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.tables = nn.ModuleList(nn.Embedding(50, 16) for _ in range(5))
        self.top = nn.Sequential(nn.Linear(16 + 15, 32), nn.ReLU(), nn.Linear(32, 1), nn.Sigmoid())
        self.register_buffer("pairs", torch.tril_indices(6, 6, -1))

    def forward(self, dense: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        x = self.bottom(dense)
        vectors = torch.stack([x, *(table(categories[:, i]) for i, table in enumerate(self.tables))], dim=1)
        products = vectors @ vectors.transpose(1, 2)
        chosen = products[:, self.pairs[0], self.pairs[1]]
        return self.top(torch.cat([x, chosen], dim=1))


def test_dlrm() -> None:
    torch.manual_seed(0)
    example = [torch.randn(2, 13), torch.randint(0, 50, (2, 5))]
    model = canonicalize(export_module(RecommendationNetwork(), example, "dlrm").model)
    assert_mirror_agrees(model, "random?count=2")
