"""Bring a model of any opset from 7 up to the canonical opset."""

import onnx
import onnx_ir as ir
from onnxscript import version_converter

from mpq_onnx.errors import ModelError, first_line

CANONICAL_OPSET = 21
"""Newest opset for which onnxruntime's CPU kernels are complete (random generators end here)."""
OLDEST_OPSET = 7
OLDEST_IR_VERSION = 8


def convert_opset(model: ir.Model) -> ir.Model:
    """`model` at opset 21, by onnxscript's converter where it reaches, by ONNX's own below opset 18 and above 21.

    Raises:
        ModelError: the opset is out of range, or a converter gave up.
    """
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", CANONICAL_OPSET))
    if opset < OLDEST_OPSET:
        raise ModelError(f"opset {opset} is older than {OLDEST_OPSET}; export the model with a newer opset")
    # From IR version 4 on, initializers need not be inputs too; ONNX's converter goes by it.
    model.ir_version = max(model.ir_version, OLDEST_IR_VERSION)
    try:
        if 18 <= opset <= CANONICAL_OPSET:
            version_converter.convert_version(model, target_version=CANONICAL_OPSET)
        if model.opset_imports.get("") != CANONICAL_OPSET:
            proto = onnx.version_converter.convert_version(ir.to_proto(model), CANONICAL_OPSET)
            model = ir.from_proto(proto)
    except Exception as error:  # both converters raise plain RuntimeErrors
        advice = f"; export with opset {CANONICAL_OPSET}" if opset > CANONICAL_OPSET else ""
        raise ModelError(
            f"cannot convert opset {opset} to {CANONICAL_OPSET}: {first_line(error)}{advice}"
        ) from error
    model.ir_version = max(model.ir_version, 10)
    return model
