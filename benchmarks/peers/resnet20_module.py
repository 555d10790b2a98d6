"""ResNet-20 (arXiv 1512.03385, section 4.2) as modules, for a tool that reads no ONNX; the weights are those of the file."""

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (16, 32, 64)
BLOCKS = 3


class Block(nn.Module):
    """Two convolutions beside a shortcut, which drops every second pixel and fills up channels with zeros."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.step, self.missing = outputs // inputs, (outputs - inputs) // 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, self.step, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[n, inputs, h, w] to [n, outputs, h / step, w / step]."""
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.missing:
            x = functional.pad(
                x[:, :, :: self.step, :: self.step], (0, 0, 0, 0, self.missing, self.missing), "constant", 0.0
            )
        return functional.relu(inner + x)


class ResNet20(nn.Module):
    """For images of 32 x 32 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        read = WIDTHS[0]
        for number, width in enumerate(WIDTHS, 1):
            blocks = [Block(read if place == 0 else width, width) for place in range(BLOCKS)]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            read = width
        self.linear = nn.Linear(WIDTHS[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 3, 32, 32] to [n, 10]."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def with_weights_of(path: Path) -> ResNet20:
    """Args: path: an ONNX file whose initializers have the names of the modules."""
    network = ResNet20().eval()
    read = {
        each.name: torch.tensor(onnx.numpy_helper.to_array(each))
        for each in onnx.load(path).graph.initializer
    }
    wanted = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    missing = network.load_state_dict({name: read[name] for name in wanted}, strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing)
    return network
