"""How quantized weights lie in the file; a storage form is one file and one line in STORAGES. No torch here."""

from collections.abc import Callable

import onnx_ir as ir

from mpq_onnx.storage import int8, packed
from mpq_onnx.weights import QuantizedWeight

WeightWriter = Callable[[ir.Model, str, QuantizedWeight], ir.Value]
"""(model, tensor name, weight) -> the float value that reads the stored weight back; nodes are added to the model."""

STORAGES: dict[str, WeightWriter] = {
    "int8": int8.write_weight,
    "packed": packed.write_weight,
}

__all__ = ["STORAGES", "WeightWriter"]
