"""What calibration measured: for every activation its shape, and range and error by bit width.

A plain JSON file that later runs reuse (`--calibration FILE`).
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Len

from mpq_onnx.arithmetic.quantization import (
    ASYMMETRIC,
    MAXIMUM_BITS,
    SCHEMES,
    SMALLEST_SCALE,
    counted_bits,
    levels_of,
)
from mpq_onnx.arithmetic.quantized_network import ActivationQuantizer, DynamicQuantizer
from mpq_onnx.documents.constraints import (
    Count,
    NotInFile,
    NotNegative,
    Number,
    OneOf,
    Part,
    Positive,
    PositiveCount,
)
from mpq_onnx.documents.document import Document, FileKind
from mpq_onnx.errors import DataError

WIDTHS = range(1, MAXIMUM_BITS + 1)
A_WIDTH_EACH = Len(MAXIMUM_BITS, MAXIMUM_BITS)
Shape = tuple[Count, ...]


@dataclass(frozen=True)
class TensorCalibration(Part):
    """One activation tensor."""

    shape: Shape
    """For one example (batch 1)."""
    minimum: Number
    maximum: Number
    ranges: Annotated[tuple[tuple[Number, Number], ...], A_WIDTH_EACH]
    """(low, high) for 1, 2, ... 16 bits."""
    errors: Annotated[tuple[NotNegative, ...], A_WIDTH_EACH]
    """Mean squared quantization error for 1, 2, ... 16 bits."""
    scheme: Annotated[str, NotInFile()] = ASYMMETRIC
    """The calibration's."""

    def range(self, bits: float) -> tuple[float, float]:
        """The range for `bits`; between two whole widths, linear in the number of levels."""
        lower = max(min(math.floor(bits), MAXIMUM_BITS), 1)
        upper = min(lower + 1, MAXIMUM_BITS)
        if bits <= lower or upper == lower:
            return self.ranges[lower - 1]
        share = (levels_of(bits) - levels_of(lower)) / (levels_of(upper) - levels_of(lower))
        (low_a, high_a), (low_b, high_b) = self.ranges[lower - 1], self.ranges[upper - 1]
        return low_a + share * (low_b - low_a), high_a + share * (high_b - high_a)

    def error(self, bits: float) -> float:
        """The mean squared error at `bits`; between two whole widths its logarithm is linear in log2 of the levels."""
        bits = min(max(counted_bits(bits), 1.0), float(MAXIMUM_BITS))
        lower = math.floor(bits)
        fine, coarse = self.errors[min(lower + 1, MAXIMUM_BITS) - 1], self.errors[lower - 1]
        share = bits - lower
        if not share:
            return coarse
        if min(fine, coarse) <= 0:  # values that one of the grids holds exactly: no logarithm
            return coarse + share * (fine - coarse)
        return math.exp(math.log(coarse) + share * (math.log(fine) - math.log(coarse)))

    def quantizer(self, bits: float) -> tuple[np.float32, np.float32, int]:
        """(scale, zero_point, levels) of the quantizer of `bits` bits."""
        low, high = self.range(bits)
        scheme = SCHEMES[self.scheme]
        scale, zero_point, used = scheme.fit(np.float32(low), np.float32(high), levels_of(bits))
        return np.float32(scale), np.float32(zero_point), int(used)


@dataclass(frozen=True)
class Calibration(Document):
    """All activations of one model."""

    KIND = FileKind("calibration", "mpq-onnx/calibration", 2, "docs/calibration.md", DataError, indent=None)

    model: str
    """Fingerprint of the canonical float model."""
    observer: str
    scheme: Annotated[str, OneOf(SCHEMES)]
    """Of the quantizers that the ranges and errors are for."""
    examples: PositiveCount
    """How many examples were seen."""
    tensors: Mapping[str, TensorCalibration]
    shapes: Mapping[str, Shape]
    """Shape of every tensor of the graph for one example."""
    equalization: str = "none"
    """A name in EQUALIZATIONS."""
    channel_factors: Mapping[str, tuple[Positive, ...]] = field(default_factory=dict)
    """What the channels of some tensors were divided by before ranges were measured (see equalization)."""

    @property
    def scaled_tensors(self) -> int:
        """How many tensors have a factor other than 1."""
        return sum(any(factor != 1 for factor in factors) for factors in self.channel_factors.values())

    def activation_quantizer(
        self, tensor: str, bits: float, dynamic: bool, range_factor: float = 1.0
    ) -> ActivationQuantizer | DynamicQuantizer:
        """The quantizer of `bits` bits of one activation: over its range times `range_factor`, or over each example's own."""
        if dynamic:
            return DynamicQuantizer(self.scheme, levels_of(bits))
        scale, zero_point, levels = self.tensors[tensor].quantizer(bits)
        return ActivationQuantizer(np.float32(max(scale * range_factor, SMALLEST_SCALE)), zero_point, levels)

    def document(self) -> dict[str, Any]:
        """What the file holds."""
        fields = super().document()
        for tensor in fields["tensors"].values():
            del tensor["scheme"]
        return fields

    @classmethod
    def from_json(cls, content: Any, where: str) -> "Calibration":
        """As Document.from_json."""
        loaded = super().from_json(content, where)
        tensors = {
            name: dataclasses.replace(tensor, scheme=loaded.scheme) for name, tensor in loaded.tensors.items()
        }
        return dataclasses.replace(loaded, tensors=tensors)
