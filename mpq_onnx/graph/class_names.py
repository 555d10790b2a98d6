"""What a model calls its classes, where it answers with text."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

NAME_LISTS = ("classlabels_strings", "classes_strings", "values_strings", "keys_strings")
"""Attributes of ai.onnx.ml operators that name classes."""


def class_names(model: ir.Model) -> tuple[str, ...]:
    """The first list of names in `model`: in an attribute, or in a constant of text; empty where there is none."""
    for node in model.graph.all_nodes():
        for name in NAME_LISTS if node.domain == "ai.onnx.ml" else ():
            found = node.attributes.get_strings(name, [])
            if found:
                return tuple(found)
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.dtype == ir.DataType.STRING and len(tensor.shape) == 1:
                return tuple(as_text(each) for each in tensor.numpy())
    return ()


def class_numbers(array: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The number of the class for every name in `array`; -1 for what is no name of a class. Numbers stay as they are."""
    if array.dtype.kind not in "OSU":
        return array
    numbers = {name: number for number, name in enumerate(names)}
    found = [numbers.get(as_text(each), -1) for each in array.reshape(-1)]
    return np.array(found, np.int64).reshape(array.shape)


def as_text(value: object) -> str:
    """A string as ONNX's tensors and attributes hold it."""
    return value.decode() if isinstance(value, bytes) else str(value)
