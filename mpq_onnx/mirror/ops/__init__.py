"""The op table of the mirror: ONNX op type -> a torch function of the same inputs and attributes.

A function takes the node's inputs in ONNX's order (None for an omitted one) and its attributes by name, and returns the
output, or a tuple where the op has several. One family of ops a file; a new op is one function and one line in its
family's OPS.
"""

from collections.abc import Callable
from typing import Any

from mpq_onnx.mirror.ops import (
    activation,
    convolution,
    elementwise,
    generation,
    indexing,
    logic,
    matmul,
    normalization,
    pooling,
    quantize,
    recurrent,
    reduction,
    resize,
    sampling,
    shape,
    spectral,
)

OP_TABLE: dict[str, Callable[..., Any]] = {
    **activation.OPS,
    **convolution.OPS,
    **elementwise.OPS,
    **generation.OPS,
    **indexing.OPS,
    **logic.OPS,
    **matmul.OPS,
    **normalization.OPS,
    **pooling.OPS,
    **quantize.OPS,
    **recurrent.OPS,
    **reduction.OPS,
    **resize.OPS,
    **sampling.OPS,
    **shape.OPS,
    **spectral.OPS,
}
