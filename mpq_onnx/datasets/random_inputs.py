"""random?count=64&seed=0&size=224 - standard normal (or small integer) inputs of the model's own shapes, no labels."""

import math
from collections.abc import Sequence

import numpy as np

from mpq_onnx.datasets.base import Batch, Examples, Facts
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.errors import DataError
from mpq_onnx.graph.model_inputs import ModelInput

DEFAULT_COUNT = 64
LARGEST_EXAMPLE = 2**28
"""Bytes."""


def open_examples(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
    """Open axes get `size`; integer inputs get values 0 and 1, which any table or mask accepts."""
    count, seed, size = (
        spec.integer("count", DEFAULT_COUNT, least=1),
        spec.integer("seed", 0, least=0),
        spec.integer("size", None, least=1),
    )
    shapes = {wanted.name: _shape(wanted, size, spec.text) for wanted in inputs}
    for wanted in inputs:
        bytes_ = math.prod(shapes[wanted.name]) * np.dtype(wanted.dtype).itemsize
        if bytes_ > LARGEST_EXAMPLE:
            raise DataError(
                f"{spec.text}: one example of model input {wanted.name}, of shape {shapes[wanted.name]}, takes {bytes_:,}"
                " bytes; export the model with its real shapes"
            )
    names = list(shapes)

    def example(wanted: ModelInput, index: int) -> np.ndarray:
        own = index if wanted.example_axis is not None else 0  # what a batch shares is the same for all of it
        generator = np.random.default_rng([seed, own, names.index(wanted.name)])
        if wanted.dtype.kind == "f":
            return generator.standard_normal(shapes[wanted.name]).astype(wanted.dtype)
        return generator.integers(0, 2, shapes[wanted.name]).astype(wanted.dtype)

    def read(indices: Sequence[int]) -> Batch:
        arrays = {wanted.name: np.stack([example(wanted, index) for index in indices]) for wanted in inputs}
        return Batch(arrays, None)

    return Examples(
        spec.integer("start", 0) + count,
        False,
        read,
        describe=lambda indices: (repr((seed, index)).encode() for index in indices),
        setup=repr(shapes),
    )


def _shape(wanted: ModelInput, size: int | None, where: str) -> tuple[int, ...]:
    """The shape of one example."""
    if wanted.example_shape is None:
        raise DataError(f"{where}: model input {wanted.name} has no shape; export the model with shapes")
    if any(axis is None for axis in wanted.example_shape) and size is None:
        raise DataError(f"{where}: model input {wanted.name} has open axes; give their length with size=")
    return tuple(size if axis is None else axis for axis in wanted.example_shape)  # type: ignore[misc]
