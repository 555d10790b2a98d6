"""Outputs that a file leaves without a type or a shape, which ONNX's rules ask for and some exporters forget."""

import onnx
import onnx_ir as ir

from mpq_onnx.errors import ModelError

LOOPS = ("Loop", "Scan")


def state_output_shapes(model: onnx.ModelProto) -> bool:
    """Give such outputs what shape inference finds; returns whether there were any.

    Where there are loops, an output of a known type may stay without a shape: written out, they tell it (check_output_shapes).

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
    loops = any(node.op_type in LOOPS for node in model.graph.node)
    for value in bare:
        known = found.get(value.name, value)
        if not _is_stated(known) and not (loops and (_has_type(known) or _has_type(value))):
            raise _unknown(value.name)
        if _is_stated(known) or not _has_type(value):
            value.type.CopyFrom(known.type)
    return True


def state_scalars(model: onnx.ModelProto) -> None:
    """Call outputs that state no shape scalars, for ONNX's checker, which wants some shape and compares it with nothing."""
    for value in model.graph.output:
        if not _is_stated(value):
            value.type.tensor_type.shape.SetInParent()


def check_output_shapes(model: ir.Model) -> None:
    """Raise ModelError, naming it, for an output of a canonical model whose shape nothing tells."""
    for value in model.graph.outputs:
        if value.shape is None:
            raise _unknown(value.name)


def _unknown(name: str | None) -> ModelError:
    return ModelError(
        f"output {name} has no shape, and none can be inferred; export it again, or state it"
        " (onnx.helper.make_tensor_value_info)"
    )


def _has_type(value: onnx.ValueInfoProto) -> bool:
    """Whether it is a tensor of a known type."""
    return (
        value.type.HasField("tensor_type") and value.type.tensor_type.elem_type != onnx.TensorProto.UNDEFINED
    )


def _is_stated(value: onnx.ValueInfoProto) -> bool:
    """Other types than tensors have shapes of their own."""
    if not value.HasField("type"):
        return False
    return not value.type.HasField("tensor_type") or value.type.tensor_type.HasField("shape")
