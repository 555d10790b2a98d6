"""A model's fingerprint: equal for models that compute the same in the same way, whatever file they come from."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from mpq_onnx.threads import side_by_side

DEFAULT_DOMAIN = "ai.onnx"
"""Another spelling of the empty domain."""
Description = Any
"""Nested tuples of text and numbers: their repr is what is hashed."""


def fingerprint(model: ir.Model) -> str:
    """SHA-256 of everything that the computation depends on.

    Taken in: inputs (names, types, fixed lengths), outputs, nodes in order with all their attributes, subgraphs, functions,
    initializers (type, shape, values) and the opsets in use. Left out: metadata, doc strings, inferred shapes, the names of
    graph and file, the order in which initializers are stored, where they are stored.
    """
    tensors = _Tensors(model)
    functions = sorted(model.functions.items())
    used = {_domain(node.domain) for node in all_nodes(model)}
    description = (
        sorted(
            (_domain(domain), version)
            for domain, version in model.opset_imports.items()
            if _domain(domain) in used
        ),
        _graph(model.graph, tensors),
        [(identifier, _function(function, tensors)) for identifier, function in functions],
    )
    return hashlib.sha256(repr(description).encode(errors="surrogateescape")).hexdigest()


class _Tensors:
    """Hashes of constant tensors; those of the initializers, which hold the gigabytes, are made in threads."""

    def __init__(self, model: ir.Model) -> None:
        constants = [
            value.const_value for value in model.graph.initializers.values() if value.const_value is not None
        ]
        found = side_by_side(_tensor, constants)
        self._known = {id(tensor): description for tensor, description in zip(constants, found, strict=True)}

    def describe(self, tensor: ir.TensorProtocol | None) -> Description:
        if tensor is None:
            return None
        return self._known.get(id(tensor)) or _tensor(tensor)


def _tensor(tensor: ir.TensorProtocol) -> Description:
    array = tensor.numpy()
    digest = hashlib.sha256()
    if tensor.dtype == ir.DataType.STRING:
        digest.update(repr([_text(item) for item in array.reshape(-1).tolist()]).encode())
    else:
        # As bytes: hashlib does not know the types that numpy lacks (bfloat16, int4).
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return tensor.dtype.name, tuple(array.shape), digest.hexdigest()


def _graph(graph: ir.Graph, tensors: _Tensors) -> Description:
    return (
        [(value.name, _type(value), _lengths(value)) for value in graph.inputs],
        [(value.name, _type(value)) for value in graph.outputs],
        sorted((name, tensors.describe(value.const_value)) for name, value in graph.initializers.items()),
        [_node(node, tensors) for node in graph],
    )


def _function(function: ir.Function, tensors: _Tensors) -> Description:
    return (
        [value.name for value in function.inputs],
        [value.name for value in function.outputs],
        sorted(_attribute(attribute, tensors) for attribute in function.attributes.values()),
        sorted((_domain(domain), version) for domain, version in function.opset_imports.items()),
        [_node(node, tensors) for node in function],
    )


def _node(node: ir.Node, tensors: _Tensors) -> Description:
    return (
        _domain(node.domain), node.op_type, node.overload, node.name or "",
        [value.name if value is not None else "" for value in node.inputs],
        [value.name or "" for value in node.outputs],
        sorted(_attribute(attribute, tensors) for attribute in node.attributes.values()),
    )  # fmt: skip


def _attribute(attribute: ir.Attr, tensors: _Tensors) -> Description:
    """Name, type, and the value or the attribute of the function that it refers to."""
    if attribute.is_ref():
        return attribute.name, attribute.type.name, "reference", attribute.ref_attr_name
    value = attribute.value
    many = attribute.type.name.endswith("S") and isinstance(value, tuple | list)
    parts = [_value(part, tensors) for part in (value if many else (value,))]
    return attribute.name, attribute.type.name, "value", repr(parts)


def _value(value: Any, tensors: _Tensors) -> Description:
    if isinstance(value, ir.Graph):
        return _graph(value, tensors)
    if isinstance(value, ir.TensorProtocol):
        return tensors.describe(value)
    if isinstance(value, bytes | str):
        return _text(value)
    if isinstance(value, float):
        return float(np.float32(value))  # as a file stores it
    if isinstance(value, ir.TypeAndShape):
        return str(value.type), _shape(value.shape)
    return value if isinstance(value, int) or value is None else str(value)


def _type(value: ir.Value) -> str:
    return str(value.type)


def _lengths(value: ir.Value) -> Description:
    return _shape(value.shape)


def _shape(shape: ir.Shape | None) -> Description:
    """Fixed lengths; None for an open axis, whatever its name."""
    return None if shape is None else tuple(axis if isinstance(axis, int) else None for axis in shape)


def _text(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode(errors="surrogateescape")


def _domain(domain: str) -> str:
    return "" if domain == DEFAULT_DOMAIN else domain


def all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Of the graph, its subgraphs and the functions."""
    parts: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for part in parts:
        yield from part.all_nodes()
