"""Equalization: channels of inner tensors are scaled so that one range suits them all, and the network computes the same.

Dividing channel c of a tensor by s_c (in the weights and bias that make it) and multiplying the weights that read it by s_c
changes nothing as long as everything between is channelwise and homogeneous, such as a ReLU. A way to choose s is one file and
one line in EQUALIZATIONS.
"""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.equalization import activation_channels, cross_layer, depthwise
from mpq_onnx.placement import Shapes

Factors = Mapping[str, tuple[float, ...]]
"""s_c by the name of the tensor that the producer makes, or of the tensor that a product scales."""
Equalization = Callable[[ir.Model, Shapes, Dataset, str], Factors]
"""(canonical float model, shapes, calibration data, device) -> factors."""

NONE = "none"
DEPTHWISE = "depthwise"


def keep(model: ir.Model, shapes: Shapes, dataset: Dataset, device: str) -> Factors:
    """Nothing is scaled."""
    return {}


EQUALIZATIONS: dict[str, Equalization] = {
    NONE: keep,
    DEPTHWISE: depthwise.factors,
    "cross-layer": cross_layer.factors,
    "activation-channels": activation_channels.factors,
}
