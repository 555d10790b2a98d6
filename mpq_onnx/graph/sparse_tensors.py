"""Sparse tensors, as initializers or as values of Constants: made dense when a file is read, nothing else knows of them."""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx

from mpq_onnx.errors import ModelError

HARMLESS_BYTES = 2**28
LARGEST_INFLATION = 200
"""Above HARMLESS_BYTES all sparse tensors of a file together take at most so many times what it holds of them: 99.5 % zeros."""
SPARSE_VALUE, VALUE = "sparse_value", "value"


def make_dense(model: onnx.ModelProto) -> None:
    """Put dense tensors in the places of the sparse ones, in subgraphs and functions too.

    Raises:
        ModelError: one does not hold what it says, or they would fill the memory; names the tensor.
    """
    graphs = [
        *_graphs(model.graph),
        *(each for function in model.functions for each in _inside(function.node)),
    ]
    nodes = [node for graph in graphs for node in graph.node]
    nodes += [node for function in model.functions for node in function.node]
    constants = [
        (node.output[0], attribute)
        for node in nodes
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == SPARSE_VALUE
    ]
    initializers = [(graph, tensor) for graph in graphs for tensor in graph.sparse_initializer]
    _check_size([*(tensor for _, tensor in initializers), *(each.sparse_tensor for _, each in constants)])
    for graph, tensor in initializers:
        graph.initializer.append(_dense(tensor, tensor.values.name))
    for graph in graphs:
        graph.ClearField("sparse_initializer")
    for name, attribute in constants:
        attribute.CopyFrom(onnx.helper.make_attribute(VALUE, _dense(attribute.sparse_tensor, name)))


def _check_size(tensors: Sequence[onnx.SparseTensorProto]) -> None:
    held = sum(tensor.ByteSize() for tensor in tensors)
    dense = 0
    for tensor in tensors:
        if any(size < 0 for size in tensor.dims):
            raise ModelError(f"sparse tensor {tensor.values.name}: has shape {list(tensor.dims)}")
        dense += math.prod(tensor.dims) * _numpy_type(tensor).itemsize
        if dense > max(HARMLESS_BYTES, LARGEST_INFLATION * held):
            raise ModelError(
                f"sparse tensor {tensor.values.name}: with shape {list(tensor.dims)} the sparse tensors grow from {held:,} to"
                f" {dense:,} bytes: no weights; export the model with dense ones"
            )


def _dense(tensor: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    """The tensor with zeros where it says nothing."""
    if any(onnx.external_data_helper.uses_external_data(each) for each in (tensor.values, tensor.indices)):
        raise ModelError(f"sparse tensor {name}: lies in another file; export the model with dense tensors")
    try:
        values = onnx.numpy_helper.to_array(tensor.values)
        indices = onnx.numpy_helper.to_array(tensor.indices)
        array = np.zeros(tuple(tensor.dims), values.dtype)
        # Places in the flattened tensor [values], or coordinates [values, axes].
        places = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), array.shape)
        if places.size and not 0 <= places.min() <= places.max() < array.size:
            raise IndexError(f"places beyond its shape {array.shape}")
        array.reshape(-1)[places] = values
    except (ValueError, IndexError, TypeError) as error:
        raise ModelError(
            f"sparse tensor {name}: its data does not fit its shape and type: {error}"
        ) from error
    made = onnx.numpy_helper.from_array(array, name)
    if made.data_type != tensor.values.data_type:
        raise ModelError(
            f"sparse tensor {name}: of a type that numpy lacks; export the model with dense tensors"
        )
    return made


def _numpy_type(tensor: onnx.SparseTensorProto) -> np.dtype:
    try:
        return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.values.data_type))
    except (KeyError, TypeError) as error:
        raise ModelError(f"sparse tensor {tensor.values.name}: has no element type") from error


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """It, and all inside it."""
    yield graph
    yield from _inside(graph.node)


def _inside(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            for each in (attribute.g,) if attribute.HasField("g") else (*attribute.graphs,):
                yield from _graphs(each)
