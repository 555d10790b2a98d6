"""A model as its source gives it, with a way to run the original for comparison."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

Reference = Callable[[Mapping[str, np.ndarray]], list[np.ndarray]]
"""Inputs by name -> outputs in order."""

SEQUENCE_LENGTH = 128
"""Tokens of a text model's input, where the user does not say."""


@dataclass(frozen=True)
class SourceOptions:
    """What the user adds to a source's name."""

    weights: str | None = None
    """A state dict file (torch or safetensors)."""
    pretrained: bool = False
    """The library's own weights, downloaded; without them and `weights`, a named model has random weights."""
    seed: int = 0
    """For random weights."""
    task: str | None = None
    """What a transformer is to do; a name in zoo.transformers_models.HEADS."""
    sequence_length: int = SEQUENCE_LENGTH
    """Tokens of a transformer's input."""


@dataclass(frozen=True)
class SourceModel:
    """An ONNX model that is not canonical yet."""

    model: ir.Model
    reference: Reference
    """Computes what the original computes."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What later commands need to know, by the keys in metadata.py: preprocessing, task, tokenizer, ..."""
