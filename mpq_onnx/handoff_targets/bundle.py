"""What every hand-off target gets, and how it refuses what it cannot express."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.placement.sites import Shapes
from mpq_onnx.graph.quantized_tensors import quantized_tensor
from mpq_onnx.graph.quantizer_chains import Chains, WeightChain
from mpq_onnx.handoff_targets.integer_range import ExportedWeight, exported_weight
from mpq_onnx.handoff_targets.layers import LayerRow

MODEL_FILE = "model.onnx"


@dataclass(frozen=True)
class Bundle:
    """One file, read and measured."""

    path: str
    model: ir.Model
    """Noise taken out, weights as plain integers; targets change a copy."""
    chains: Chains
    """Of `model`."""
    stored_levels: Mapping[str, np.ndarray]
    """Levels by stored weight (see graph.quantized_tensors), one number or one per channel: as the file's allocation tells
    them, else all that the integers' type has."""
    layers: tuple[LayerRow, ...]
    """A row a multiply-accumulate node."""
    shapes: Shapes
    """Of every tensor of `model`, for one example."""
    dataset: Dataset

    @property
    def is_noisy(self) -> bool:
        """The file adds noise to some layer."""
        return any(row.noise for row in self.layers)

    def weight_levels(self, chain: WeightChain) -> np.ndarray:
        """Levels of a weight, one number or one per channel."""
        return self.stored_levels[quantized_tensor(chain.dequantize)]

    def exported_weight(self, chain: WeightChain) -> ExportedWeight:
        """A weight whose channels all have the same width."""
        assert chain.integers.const_value is not None
        levels = int(self.weight_levels(chain).max())
        return exported_weight(chain, chain.integers.const_value.numpy(), levels)


@dataclass(frozen=True)
class Problem:
    """One thing that a target cannot express."""

    node: str
    reason: str
    """Such as "dynamic range"."""


def refuse(path: str, target: str, problems: Iterable[Problem], advice: str) -> None:
    """Raise UsageError with every node of `problems`, by reason; nothing happens when there are none."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for problem in problems:
        by_reason[problem.reason].append(problem.node)
    if by_reason:
        text = "; ".join(f"{reason}: {', '.join(nodes)}" for reason, nodes in by_reason.items())
        raise UsageError(f"{path}: {target} cannot express {text} ({advice})")


def mixed_channel_widths(bundle: Bundle) -> list[Problem]:
    """Weights whose output channels have different widths."""
    return [
        Problem(chain.node, "a width per output channel")
        for chain in bundle.chains.weights
        if not chain.is_bias and len(np.unique(bundle.weight_levels(chain))) > 1
    ]


def foreign_quantizers(bundle: Bundle) -> list[Problem]:
    """Quantizers that are no static chain."""
    return [
        Problem(str(node.name), f"a {node.op_type} that is no static chain") for node in bundle.chains.others
    ]


def noise(bundle: Bundle) -> list[Problem]:
    """The noisy nodes."""
    return [Problem(row.name, "noise") for row in bundle.layers if row.noise]
