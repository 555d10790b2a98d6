"""Networks in float16, bfloat16 or double compute in float32; inputs and outputs keep their type.

Formulas of ranges and noise, and most kernels of onnxruntime's CPU, are float32's. Casts between the floating-point types
inside the graph go; those at the borders of the main graph stay, so that whoever feeds the network need not change. Only
bfloat16 inputs and outputs become float32: numpy has no such arrays to feed.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name, take_name
from mpq_onnx.graph.operators import is_standard

KEPT_OUTSIDE = frozenset({ir.DataType.FLOAT16, ir.DataType.DOUBLE})
PRECISION = {ir.DataType.FLOAT16: 2**-10, ir.DataType.BFLOAT16: 2**-7, ir.DataType.DOUBLE: 2**-23}
"""Of a number near 1, as float32 has it at best."""
CONVERTED = KEPT_OUTSIDE | {ir.DataType.BFLOAT16}
TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_datatype", "output_dtype", "stash_type"})
"""Attributes that hold an element type: of Cast, EyeLike and the random generators, windows, and normalizations."""


def converted_types(model: ir.Model) -> tuple[ir.DataType, ...]:
    """The types that ComputeInFloat32Pass would convert: none for a graph that has it behind it.

    Of a model that states no types between its nodes those count that a Cast makes and a constant has, in functions too.
    """
    graph = model.graph
    outer = {*graph.inputs, *graph.outputs}
    found = {value.dtype for value in _outer_values(graph) if _needs_cast(value)}
    found |= {value.dtype for value in outer if value.dtype not in KEPT_OUTSIDE}
    found |= {value.dtype for each in model.graphs() for value in _values(each) if value not in outer}
    borders = _borders(graph)
    inside = [node for node in graph.all_nodes() if node not in borders]
    inside += [node for function in model.functions.values() for node in function.all_nodes()]
    found |= {_stated_type(attribute) for node in inside for attribute in node.attributes.values()}
    return tuple(dtype for dtype in sorted(CONVERTED) if dtype in found)


class ComputeInFloat32Pass(ir.passes.InPlacePass):
    """Retype all values, constants, attributes and subgraphs of other floating-point types to float32."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        modified = False
        for value in _outer_values(graph):
            if _needs_cast(value):
                _cast_readers(graph, value)
                if value.producer() is not None:
                    _cast_output(graph, value)
                modified = True
        kept = set(_outer_values(graph))
        for value in {*graph.outputs, *(value for each in model.graphs() for value in _values(each))} - kept:
            modified |= _retype(value)
        borders = _borders(graph)
        for node in list(graph.all_nodes()):
            if node in borders:
                continue
            modified |= _retype_attributes(node)
            if _changes_nothing(node):
                _remove(node)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]


def _outer_values(graph: ir.Graph) -> list[ir.Value]:
    """Inputs and outputs whose type stays while the graph computes in float32."""
    return [value for value in (*graph.inputs, *graph.outputs) if value.dtype in KEPT_OUTSIDE]


def _borders(graph: ir.Graph) -> set[ir.Node | None]:
    """The nodes that give outputs their type."""
    return {value.producer() for value in _outer_values(graph)}


def _needs_cast(value: ir.Value) -> bool:
    """False for what one Cast to float32 alone reads, or one Cast from float32 makes."""
    uses, producer = tuple(value.uses()), value.producer()
    if producer is None:
        return bool(uses) and not (len(uses) == 1 and _is_input_cast(uses[0].node))
    return bool(uses) or not _is_output_cast(producer)


def _is_input_cast(node: ir.Node) -> bool:
    return _cast_type(node) == ir.DataType.FLOAT


def _is_output_cast(node: ir.Node) -> bool:
    source = node.inputs[0] if _cast_type(node) is not None else None
    return source is not None and source.dtype == ir.DataType.FLOAT


def _cast_type(node: ir.Node) -> ir.DataType | None:
    """The type that a Cast makes; None for other nodes."""
    if node.op_type != "Cast" or not is_standard(node):
        return None
    return ir.DataType(node.attributes.get_int("to", ir.DataType.UNDEFINED))


def _cast_readers(graph: ir.Graph, value: ir.Value) -> None:
    """Let all who read `value` read it in float32: its producer's float32, or behind one Cast."""
    uses, producer = tuple(value.uses()), value.producer()
    if producer is not None:
        source = producer.inputs[0] if _is_output_cast(producer) else value
    else:
        casts = [use.node for use in uses if use.node.graph is graph and _is_input_cast(use.node)]
        cast = casts[0] if casts else _new_cast(graph, value, f"{value.name}_float", ir.DataType.FLOAT)
        if casts:
            graph.remove(cast)
        graph.insert_before(graph[0], cast) if len(graph) else graph.append(cast)
        uses, source = tuple(use for use in uses if use.node is not cast), cast.outputs[0]
    for use in uses:
        use.node.replace_input_with(use.idx, source)


def _cast_output(graph: ir.Graph, value: ir.Value) -> None:
    """A Cast that gives the graph's output `value` its type; what it casts is float32 and has another name."""
    producer = value.producer()
    if value.dtype is None or producer is None or _is_output_cast(producer):
        return
    cast = _new_cast(graph, value, f"{value.name}_outside", value.dtype)
    take_name(graph, cast.outputs[0], value, f"{value.name}_float")
    for position, output in enumerate(list(graph.outputs)):
        if output is value:
            graph.outputs[position] = cast.outputs[0]
    graph.append(cast)


def _new_cast(graph: ir.Graph, value: ir.Value, name: str, dtype: ir.DataType) -> ir.Node:
    """A Cast of `value` that is in no graph yet; its output has the name, or one like it that is free."""
    cast = ir.node("Cast", [value], {"to": dtype}, name=fresh_node_name(graph, f"{name}_cast"))
    output = cast.outputs[0]
    output.name = fresh_name(graph, name)
    output.dtype, output.shape = dtype, value.shape and value.shape.copy()
    return cast


def _retype(value: ir.Value) -> bool:
    """Make `value`, and the constant that it is, float32."""
    if value.type is None or value.dtype not in CONVERTED:
        return False
    value.type = _float32_type(value.type)
    if value.const_value is not None and value.const_value.dtype in CONVERTED:
        value.const_value = _as_float32(value.const_value)
    return True


def _float32_type(kind: ir.TypeProtocol) -> ir.TypeProtocol:
    """float32 in place of the element type, in sequences and optionals too."""
    if isinstance(kind, ir.TensorType):
        return ir.TensorType(ir.DataType.FLOAT)
    return type(kind)(_float32_type(kind.elem_type))  # type: ignore[call-arg, arg-type]


def _retype_attributes(node: ir.Node) -> bool:
    modified = False
    for name, attribute in list(node.attributes.items()):
        if _stated_type(attribute) is None:
            continue
        if attribute.type == ir.AttributeType.TENSOR:
            node.attributes[name] = ir.AttrTensor(name, _as_float32(attribute.as_tensor()))
        else:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))
        modified = True
    return modified


def _stated_type(attribute: ir.Attr) -> ir.DataType | None:
    """The type that an attribute names or holds, where that is one to convert."""
    kind: int | None = None
    if attribute.is_ref():
        return None
    if attribute.type == ir.AttributeType.TENSOR:
        kind = attribute.as_tensor().dtype
    elif attribute.type == ir.AttributeType.INT and attribute.name in TYPE_ATTRIBUTES:
        kind = attribute.as_int()
    return ir.DataType(kind) if kind in CONVERTED else None


def _as_float32(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """Finite numbers stay finite: the lowest double, which masks hold, becomes the lowest float32."""
    array = tensor.numpy()
    if tensor.dtype == ir.DataType.DOUBLE:
        limits = np.finfo(np.float32)
        array = np.where(np.isfinite(array), array.clip(limits.min, limits.max), array)
    return ir.tensor(array.astype(np.float32), name=tensor.name)


def _changes_nothing(node: ir.Node) -> bool:
    """A Cast or CastLike from float32 to float32."""
    wanted = _cast_type(node)
    if node.op_type == "CastLike" and is_standard(node) and node.inputs[1] is not None:
        wanted = node.inputs[1].dtype
    source = node.inputs[0] if node.inputs else None
    return source is not None and source.dtype == ir.DataType.FLOAT == wanted


def _remove(node: ir.Node) -> None:
    """Let the readers of a Cast read its input; one that makes a graph's output becomes an Identity, which may go later."""
    source, output = node.inputs[0], node.outputs[0]
    assert source is not None and node.graph is not None
    if output.is_graph_output():
        node.op_type = "Identity"
        node.attributes.clear()
        if len(node.inputs) > 1:
            node.resize_inputs(1)
        return
    output.replace_all_uses_with(source)
    node.graph.remove(node, safe=True)
