"""ONNX's own tests of single nodes, loaded once for all modules that go through them."""

import functools
from unittest import mock

import numpy as np
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

RANDN = np.random.randn


def smaller_volumes(*shape: int) -> np.ndarray:
    """numpy's randn, with 8 for 32 in what three tests pool: ONNX's reference takes seconds for their 89,373 windows."""
    return RANDN(1, 3, 8, 8, 8) if shape == (1, 3, 32, 32, 32) else RANDN(*shape)


@functools.cache
def node_tests() -> tuple:
    with mock.patch("numpy.random.randn", smaller_volumes):
        return tuple(load_model_tests(kind="node"))


def as_array(value: object) -> np.ndarray:
    """Of an input or an expected output."""
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else np.asarray(value)
