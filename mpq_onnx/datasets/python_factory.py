"""python:package.module:factory - a function of the user's that returns the arrays.

The factory takes no arguments and returns a dict of arrays by model input name, with an optional entry "labels".
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mpq_onnx.datasets.arrays import LABELS, label_array
from mpq_onnx.datasets.base import Batch, Examples, Facts
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.errors import DataError, deepest_line
from mpq_onnx.graph.model_inputs import ModelInput
from mpq_onnx.python_object import import_object


def open_examples(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
    """Call the factory once and serve what it returned, as it is."""
    factory = import_object(spec.path)
    try:
        made = factory()
    except Exception as error:  # the user's own code
        raise DataError(
            f"{spec.text}: the factory ended with {type(error).__name__}: {deepest_line(error)}"
        ) from error
    if not isinstance(made, Mapping) or not made:
        raise DataError(f"{spec.text}: the factory must return a dict of arrays by model input name")
    arrays = {name: np.asarray(array) for name, array in made.items()}
    labels = label_array(arrays.pop(LABELS, None), spec.text)
    lengths = {len(array) for array in [*arrays.values(), *([] if labels is None else [labels])]}
    if len(lengths) != 1:
        raise DataError(f"{spec.text}: the factory returned arrays of different lengths {sorted(lengths)}")

    def read(indices: Sequence[int]) -> Batch:
        chosen = np.asarray(indices)
        batch = {name: array[chosen] for name, array in arrays.items()}
        return Batch(batch, None if labels is None else labels[chosen])

    return Examples(lengths.pop(), labels is not None, read)
