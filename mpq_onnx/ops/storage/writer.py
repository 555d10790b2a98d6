"""What a form of storage is."""

from collections.abc import Callable

import onnx_ir as ir

from mpq_onnx.arithmetic.weights import QuantizedWeight

WeightWriter = Callable[[ir.Model, str, QuantizedWeight], ir.Value]
"""(model, tensor name, weight) -> the float value that reads the stored weight back; nodes are added to the model."""
