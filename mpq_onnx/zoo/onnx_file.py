"""An ONNX file, of any exporter."""

import functools
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from mpq_onnx.errors import ModelError, first_line
from mpq_onnx.graph.given_model import GivenModel
from mpq_onnx.graph.metadata import MODEL_FACTS
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.runtime.session import Runner
from mpq_onnx.zoo.source import Reference, SourceModel

NO_KERNEL = ("NOT_IMPLEMENTED", "not supported")
"""What onnxruntime's errors say of an operator that it has no kernel for, in this type or with these attributes."""


def open_source(path: str | GivenModel) -> SourceModel:
    """The file at `path`; onnxruntime runs it as it is for the comparison."""
    model = load_model(path)
    facts = {key: text for key, text in model.metadata_props.items() if key in MODEL_FACTS}
    return SourceModel(model, _reference(path, model), facts, functools.partial(_reference, path))


def _reference(path: str | GivenModel, model: ir.Model) -> Reference:
    """onnxruntime, or where it lacks a kernel (bfloat16, many operators in double) ONNX's own reference implementation.

    That one takes bfloat16 inputs too, which onnxruntime does not take as arrays.

    Raises:
        ModelError: neither runs the file.
    """
    if any(value.dtype is ir.DataType.BFLOAT16 for value in model.graph.inputs):
        return _by_onnx(path, model)
    try:
        # As it was loaded, not the file: a ZipMap, names that two nodes share, a batch of 0 would be refused.
        return Runner(model, "cpu", where=str(path)).run
    except ModelError as error:
        if not any(words in str(error) for words in NO_KERNEL):
            raise
        try:
            return _by_onnx(path, model)
        except ModelError:
            raise error from None


def _by_onnx(path: str | GivenModel, model: ir.Model) -> Reference:
    """ONNX's reference implementation; arrays are fed in the model's own types.

    Raises:
        ModelError: it does not know an operator of the file.
    """
    try:
        evaluator = ReferenceEvaluator(path if isinstance(path, str) else path.proto)
    except Exception as error:  # it raises many kinds for what it does not know
        raise ModelError(
            f"{path}: ONNX's reference implementation cannot run it: {first_line(error)}"
        ) from error
    types = {str(value.name): value.dtype.numpy() for value in model.graph.inputs if value.dtype is not None}

    def run(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        typed = {name: array.astype(types[name]) for name, array in feeds.items()}
        try:
            return list(evaluator.run(None, typed))
        except Exception as error:  # numpy's own, of many kinds
            raise ModelError(
                f"{path}: ONNX's reference implementation cannot run it: {first_line(error)}"
            ) from error

    return run
