"""A model as its source gives it, with a way to run the original for comparison."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.model_file import clone
from mpq_onnx.passes.set_inputs import SetInputsPass

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
    runs: Callable[[ir.Model], Reference] | None = None
    """Makes a reference of the model itself, where the original is no more than that."""

    def with_values(self, values: Mapping[str, np.ndarray]) -> "SourceModel":
        """The same with inputs, or open axes, set for good (see SetInputsPass).

        Raises:
            UsageError: no input or axis has one of these names, or a value does not fit.
        """
        model = clone(self.model)
        SetInputsPass(values)(model)
        arrays = {
            name: model.graph.initializers[name].const_value.numpy()  # type: ignore[union-attr]
            for name in values
            if name in model.graph.initializers
        }
        if self.runs is not None:
            return SourceModel(model, self.runs(model), self.metadata, self.runs)
        reference = self.reference
        return SourceModel(model, lambda feeds: reference({**feeds, **arrays}), self.metadata)
