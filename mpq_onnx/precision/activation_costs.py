"""What rounding an activation costs: the errors of its elements count as independent.

sum E[g^2] times the mean squared error that calibration measured (see fisher).
"""

from collections.abc import Mapping

import numpy as np
from torch import Tensor, fx

from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.precision.items import WidthItems
from mpq_onnx.precision.problem import ACTIVATIONS
from mpq_onnx.precision.recorder import Recorder
from mpq_onnx.ranks import Ranks

BATCH_SIZE = 32


class ActivationCosts:
    """A CostMeter; costs are [items, choices]."""

    kind = ACTIVATIONS
    batch_size = BATCH_SIZE
    readers = ()

    def __init__(self, nodes: Mapping[str, fx.Node], items: WidthItems, calibration: Calibration) -> None:
        """Args: nodes: by tensor, the node whose gradient the tensor's quantizer sees."""
        self.nodes, self.items, self.calibration = nodes, items, calibration
        self.watched = list(nodes.values())
        self.squared_gradients = dict.fromkeys(nodes, 0.0)

    def update(self, recorder: Recorder, gradients: Mapping[fx.Node, Tensor | None]) -> None:
        """Sum g^2."""
        for tensor, node in self.nodes.items():
            gradient = gradients[node]
            if gradient is not None:
                self.squared_gradients[tensor] += float(gradient.double().square().sum())

    def merge(self, ranks: Ranks) -> None:
        """Add what the other ranks took in."""
        total = ranks.sum(np.array([*self.squared_gradients.values()]))
        self.squared_gradients = dict(zip(self.nodes, map(float, total), strict=True))

    def costs(self, examples: int) -> np.ndarray:
        """Mean g^2 times the error of every width."""
        tensors = self.calibration.tensors
        return np.stack(
            [
                self.squared_gradients[name]
                / examples
                * np.array([tensors[name].error(bits) for bits in self.items.choices])
                for name in self.items.names
            ]
        )
