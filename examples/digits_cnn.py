"""A small convolutional network, trained on scikit-learn's digits in seconds: an example of a `python:` source.

cd examples && mpq-onnx export python:digits_cnn:trained -o digits.onnx
"""

import torch
from torch import nn

from mpq_onnx.datasets import open_dataset
from mpq_onnx.graph.model_inputs import ModelInput

TRAINING_SPEC = "digits?count=1200"
TEST_SPEC = "digits?start=1200"
EPOCHS = 20
BATCH_SIZE = 64


class Block(nn.Module):
    """Two convolutions with a shortcut around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(x + self.norm2(self.conv2(y)))


class DigitsNetwork(nn.Module):
    """Ten classes from 1x8x8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        self.block1 = Block(16)
        self.widen = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.block2 = Block(32)
        self.classifier = nn.Linear(32, 10)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.block1(torch.relu(self.norm(self.stem(pixels))))
        x = self.block2(torch.relu(self.widen(x)))
        return self.classifier(x.mean(dim=(2, 3)))


def trained() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The network after training on the first 1200 digits, and an example of its input."""
    torch.manual_seed(0)
    network = DigitsNetwork()
    example = torch.zeros(2, 1, 8, 8)
    wanted = ModelInput("pixels", example.numpy().dtype, (None, 1, 8, 8))
    (batch,) = open_dataset(TRAINING_SPEC, (wanted,)).batches(1200)
    pixels, labels = torch.from_numpy(batch.inputs["pixels"]), torch.from_numpy(batch.labels)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = EPOCHS * (len(labels) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(labels)).split(BATCH_SIZE)[: len(labels) // BATCH_SIZE]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(pixels[chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    return network.eval(), (example,)
