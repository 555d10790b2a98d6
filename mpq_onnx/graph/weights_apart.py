"""A model without the numbers of its weights: copies and sessions share those instead of holding them once more."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnx_ir as ir

from mpq_onnx.graph.fingerprint import all_nodes

STAND_IN = "mpq_onnx.apart"
"""The file that a stand-in claims to lie in; its offset there is the weight's number."""
SMALLEST_APART = 1024
"""Bytes: shape inference and folding may want to read less."""


class Apart(NamedTuple):
    """A weight that a stand-in takes the place of."""

    name: str
    tensor: ir.TensorProtocol


def weights_apart(
    model: ir.Model, graphs: Callable[[ir.Model], Iterable[ir.Graph]]
) -> tuple[ir.Model, list[Apart]]:
    """A copy whose large weights are stand-ins, which serialize to nothing, and what they stand for.

    Args:
        graphs: those of the copy whose weights are meant.
    """
    copy = model.clone()
    apart: list[Apart] = []
    for graph in graphs(copy):
        for name, value in graph.initializers.items():
            tensor = value.const_value
            is_read = bool(value.uses()) or value.is_graph_output()  # onnxruntime knows no other
            if isinstance(tensor, ir.Tensor) and _is_large(tensor) and is_read:
                value.const_value = ir.ExternalTensor(
                    STAND_IN, len(apart), tensor.nbytes, tensor.dtype, shape=tensor.shape, name=name
                )
                apart.append(Apart(name, tensor))
    return copy, apart


def put_back(model: ir.Model, apart: Sequence[Apart]) -> None:
    """Give a copy that was made of a model with stand-ins its weights."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.location == STAND_IN:
                value.const_value = apart[int(tensor.offset or 0)].tensor


def hold_in_arrays(model: ir.Model) -> None:
    """Let go of the file that `model` was read from: a tensor of protobuf's keeps all of it, and is copied at every look."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            value.const_value = _of_its_own(value.const_value)
    for node in all_nodes(model):
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                node.attributes[name] = ir.AttrTensor(
                    name, _of_its_own(attribute.value), attribute.doc_string
                )


def _of_its_own(tensor: Any) -> Any:
    """The same numbers, apart from the message that they came in."""
    if not isinstance(tensor, ir.TensorProtoTensor):
        return tensor
    if _is_of_numpy(tensor):
        array = np.array(tensor.numpy(), tensor.dtype.numpy())
        return ir.Tensor(array, name=tensor.name, doc_string=tensor.doc_string)
    alone = onnx.TensorProto()
    alone.CopyFrom(tensor.raw)
    return ir.TensorProtoTensor(alone)


def _is_large(tensor: ir.TensorProtocol) -> bool:
    return tensor.nbytes >= SMALLEST_APART and _is_of_numpy(tensor)


def _is_of_numpy(tensor: ir.TensorProtocol) -> bool:
    return tensor.dtype != ir.DataType.STRING and tensor.dtype.numpy().isbuiltin == 1
