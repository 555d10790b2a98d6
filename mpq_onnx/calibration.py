"""What calibration measured: for every activation its shape, and range and error by bit width.

A plain JSON file that later runs reuse (`--calibration FILE`).
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpq_onnx.errors import DataError
from mpq_onnx.files import write_text
from mpq_onnx.json_document import read_document
from mpq_onnx.quantization import ASYMMETRIC, MAXIMUM_BITS, SCHEMES, counted_bits, levels_of

FORMAT = "mpq-onnx/calibration"
VERSION = 2
SCHEMA = "calibration.schema.json"
WIDTHS = range(1, MAXIMUM_BITS + 1)


@dataclass(frozen=True)
class TensorCalibration:
    """One activation tensor."""

    shape: tuple[int, ...]
    """For one example (batch 1)."""
    minimum: float
    maximum: float
    ranges: tuple[tuple[float, float], ...]
    """(low, high) for 1, 2, ... 16 bits."""
    errors: tuple[float, ...]
    """Mean squared quantization error for 1, 2, ... 16 bits."""
    scheme: str = ASYMMETRIC
    """A name in quantization.SCHEMES."""

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
class Calibration:
    """All activations of one model."""

    model: str
    """Fingerprint of the canonical float model."""
    observer: str
    scheme: str
    """Of the quantizers that the ranges and errors are for."""
    examples: int
    """How many examples were seen."""
    tensors: Mapping[str, TensorCalibration]
    shapes: Mapping[str, tuple[int, ...]]
    """Shape of every tensor of the graph for one example."""
    equalization: str = "none"
    """A name in EQUALIZATIONS."""
    channel_factors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """What the channels of some tensors were divided by before ranges were measured (see equalization)."""

    @property
    def scaled_tensors(self) -> int:
        """How many tensors have a factor other than 1."""
        return sum(any(factor != 1 for factor in factors) for factors in self.channel_factors.values())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write calibration.json, whole or not at all."""
        document = {
            "format": FORMAT,
            "version": VERSION,
            "model": self.model,
            "observer": self.observer,
            "scheme": self.scheme,
            "examples": self.examples,
            "tensors": {
                name: {
                    "shape": list(tensor.shape),
                    "minimum": tensor.minimum,
                    "maximum": tensor.maximum,
                    "ranges": [list(ends) for ends in tensor.ranges],
                    "errors": list(tensor.errors),
                }
                for name, tensor in self.tensors.items()
            },
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "equalization": self.equalization,
            "channel_factors": {name: list(factors) for name, factors in self.channel_factors.items()},
        }
        write_text(path, json.dumps(document) + "\n")


def load_calibration(path: str | os.PathLike[str]) -> Calibration:
    """Read a calibration.json.

    Raises:
        DataError: missing, not JSON, or against the schema; the message names the place in the file.
    """
    document = read_document(path, SCHEMA, DataError)
    return Calibration(
        model=document["model"],
        observer=document["observer"],
        scheme=document["scheme"],
        examples=document["examples"],
        tensors={name: _tensor(entry, document["scheme"]) for name, entry in document["tensors"].items()},
        shapes={name: tuple(shape) for name, shape in document["shapes"].items()},
        equalization=document["equalization"],
        channel_factors={name: tuple(factors) for name, factors in document["channel_factors"].items()},
    )


def _tensor(entry: Mapping[str, Any], scheme: str) -> TensorCalibration:
    return TensorCalibration(
        shape=tuple(entry["shape"]),
        minimum=entry["minimum"],
        maximum=entry["maximum"],
        ranges=tuple((low, high) for low, high in entry["ranges"]),
        errors=tuple(entry["errors"]),
        scheme=scheme,
    )
