"""Bring a model of any opset from 7 up to the canonical opset."""

import onnx
import onnx_ir as ir
from onnxscript import version_converter

from mpq_onnx.errors import ModelError, first_line
from mpq_onnx.passes.newer_operators import write_out_newer_operators
from mpq_onnx.passes.old_operators import release_restated, restate_old_operators

CANONICAL_OPSET = 21
"""Newest opset for which onnxruntime's CPU kernels are complete (random generators end here)."""
CANONICAL_IR_VERSION = 10
"""That of the opset; runtimes refuse files of versions that are newer than they are."""
OLDEST_OPSET = 7
OLDEST_IR_VERSION = 8
OPSET_OF_BATCHED_SCAN = 8
"""Its Scan has the batch first in all it takes; ONNX's converter reads it as the later one."""
LARGEST_CONVERTED_BYTES = 2**20


def convert_opset(model: ir.Model) -> ir.Model:
    """`model` at opset 21, by onnxscript's converter where it reaches, by ONNX's own below opset 18 and above 21.

    What both get wrong is restated before (see old_operators). Shapes should have been inferred.

    Raises:
        ModelError: the opset is out of range, or a converter gave up.
    """
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", CANONICAL_OPSET))
    if opset < OLDEST_OPSET:
        raise ModelError(f"opset {opset} is older than {OLDEST_OPSET}; export the model with a newer opset")
    if opset == OPSET_OF_BATCHED_SCAN and any(node.op_type == "Scan" for node in model.graph.all_nodes()):
        raise ModelError(
            f"Scan of opset {opset} goes through examples too; export the model with a newer opset"
        )
    # From IR version 4 on, initializers need not be inputs too; ONNX's converter goes by it.
    model.ir_version = max(model.ir_version, OLDEST_IR_VERSION)
    restate_old_operators(model, opset)
    write_out_newer_operators(model, opset, CANONICAL_OPSET)
    try:
        if (
            18 <= opset < CANONICAL_OPSET
        ):  # this converter inlines functions, also where nothing is to be done
            version_converter.convert_version(model, target_version=CANONICAL_OPSET)
        if model.opset_imports.get("") != CANONICAL_OPSET:
            model = _convert_by_onnx(model)
            model.opset_imports[""] = CANONICAL_OPSET  # ONNX's converter may leave the old import beside it
    except Exception as error:  # both converters raise plain RuntimeErrors
        advice = f"; export with opset {CANONICAL_OPSET}" if opset > CANONICAL_OPSET else ""
        raise ModelError(
            f"cannot convert opset {opset} to {CANONICAL_OPSET}: {first_line(error)}{advice}"
        ) from error
    release_restated(model)
    model.ir_version = CANONICAL_IR_VERSION
    return model


def _convert_by_onnx(model: ir.Model) -> ir.Model:
    """ONNX's converter, which serializes the model: large weights, which it never looks at, wait outside as inputs."""
    initializers = model.graph.initializers
    waiting = {
        name: value.const_value
        for name, value in initializers.items()
        if value.const_value is not None and value.const_value.nbytes > LARGEST_CONVERTED_BYTES
    }
    for name in waiting:
        value = initializers.pop(name)
        value.const_value = None
        if not value.is_graph_input():
            model.graph.inputs.append(value)
    told = {node.outputs[0].name: node.metadata_props for node in model.graph.all_nodes()}
    proto = onnx.version_converter.convert_version(ir.to_proto(model), CANONICAL_OPSET)
    converted = ir.from_proto(proto)
    for node in converted.graph.all_nodes():  # which the converter drops
        node.metadata_props.update(told.get(node.outputs[0].name, {}))
    for value in [each for each in converted.graph.inputs if each.name in waiting]:
        converted.graph.inputs.remove(value)
        value.const_value = waiting[str(value.name)]
        converted.graph.register_initializer(value)
    return converted
