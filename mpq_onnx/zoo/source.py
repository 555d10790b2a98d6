"""A model as its source gives it, with a way to run the original for comparison."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

Reference = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]
"""Inputs by name -> outputs in order."""


@dataclass(frozen=True)
class SourceOptions:
    """What the user adds to a source's name."""

    weights: str | None = None
    """A state dict file; None leaves the weights as the source makes them (random for a named model)."""
    seed: int = 0
    """For random weights."""


@dataclass(frozen=True)
class SourceModel:
    """An ONNX model that is not canonical yet."""

    model: ir.Model
    reference: Reference
    """Computes what the original computes."""
    preprocessing: str = ""
    """The source's own preprocessing, as the options of a data spec."""
