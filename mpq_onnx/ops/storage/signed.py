"""Storage "signed": int8 for every weight of up to 8 bits, int16 above.

Kernels for uint8 activations and int8 weights are twice as fast as those for uint8 weights where the processor adds products in
32 bits: x86 with VNNI or AMX, ARM. On other x86 processors they saturate (see centred): storage int8 is right there too.
"""

import onnx_ir as ir

from mpq_onnx.arithmetic.weights import QuantizedWeight
from mpq_onnx.ops.storage.centred import centre
from mpq_onnx.ops.storage.int8 import write_centred


def write_weight(model: ir.Model, tensor: str, weight: QuantizedWeight) -> ir.Value:
    """Add `weight` to the graph as int8 or int16."""
    return write_centred(model, tensor, weight, centre(weight, signed=True))
