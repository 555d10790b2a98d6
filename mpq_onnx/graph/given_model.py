"""A model that a caller from Python holds, in the place of a file's path."""

import functools
import hashlib
import os
from dataclasses import dataclass
from typing import Any

import onnx
import onnx_ir as ir

from mpq_onnx.errors import ModelError, deepest_line
from mpq_onnx.files import here, sha256_of

FORMS = "the path of an ONNX file, an onnx.ModelProto or an onnx_ir.Model"
IN_MEMORY = "the model in memory"


@dataclass(frozen=True, eq=False)
class GivenModel:
    """A serialized ModelProto, weights included; equal to itself alone."""

    content: bytes

    def __str__(self) -> str:
        """What stands in the place of a path in messages and results."""
        return IN_MEMORY

    @functools.cached_property
    def proto(self) -> onnx.ModelProto:
        """The model; whoever changes it takes a copy."""
        return onnx.load_model_from_string(self.content)


ModelSource = str | os.PathLike[str] | onnx.ModelProto | ir.Model | GivenModel
"""What a caller may give as a model."""


def model_source(model: Any) -> str | GivenModel:
    """A path as a text, or the model that was given.

    Raises:
        ModelError: it is neither, is too large to be held so, or has its weights in files that nobody knows.
    """
    if isinstance(model, str | GivenModel):
        return model
    if isinstance(model, os.PathLike):
        return os.fsdecode(model)
    if not isinstance(model, onnx.ModelProto | ir.Model):
        raise ModelError(f"model {type(model).__name__}: give {FORMS}")
    try:
        proto = model if isinstance(model, onnx.ModelProto) else ir.to_proto(model)
        content = proto.SerializeToString()
    except Exception as error:  # protobuf ends at 2 GiB, and onnx_ir wraps whatever it raises
        raise ModelError(
            f"{IN_MEMORY}: cannot be serialized: {deepest_line(error)}; save it and give the path"
        ) from error
    if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in proto.graph.initializer):
        raise ModelError(
            f"{IN_MEMORY}: its weights lie in files beside it; load them with it, or give the path"
        )
    return GivenModel(content)


def source_digest(model: str | GivenModel) -> str:
    """SHA-256 of the file, or of what was given."""
    if isinstance(model, GivenModel):
        return hashlib.sha256(model.content).hexdigest()
    return sha256_of(here(model))
