"""Outputs that a file leaves without a type or a shape, which ONNX's rules ask for and some exporters forget."""

import onnx

from mpq_onnx.errors import ModelError


def state_output_shapes(model: onnx.ModelProto) -> bool:
    """Give such outputs what shape inference finds; returns whether there were any.

    Raises:
        ModelError: nothing can be inferred of one; names it.
    """
    bare = [value for value in model.graph.output if not _is_stated(value)]
    if not bare:
        return False
    names = {value.name for value in bare}
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    kept = [value for value in asked.graph.output if value.name not in names]
    del asked.graph.output[:]
    asked.graph.output.extend(kept)
    inferred = onnx.shape_inference.infer_shapes(asked)
    found = {value.name: value for value in (*inferred.graph.value_info, *inferred.graph.input)}
    for value in bare:
        known = found.get(value.name)
        if known is None or not _is_stated(known):
            raise ModelError(
                f"output {value.name} has no shape, and none can be inferred; export it again, or state it"
                " (onnx.helper.make_tensor_value_info)"
            )
        value.type.CopyFrom(known.type)
    return True


def _is_stated(value: onnx.ValueInfoProto) -> bool:
    """Other types than tensors have shapes of their own."""
    if not value.HasField("type"):
        return False
    return not value.type.HasField("tensor_type") or value.type.tensor_type.HasField("shape")
