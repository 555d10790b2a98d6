"""Networks in float16, bfloat16 or double compute in float32; inputs and outputs keep their type.

Formulas of ranges and noise, and most kernels of onnxruntime's CPU, are float32's. Casts between the floating-point types
inside the graph go; those at the borders of the main graph stay, so that whoever feeds the network need not change.
"""

import numpy as np
import onnx_ir as ir

CONVERTED = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})
TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_datatype", "output_dtype", "stash_type"})
"""Attributes that hold an element type: of Cast, EyeLike and the random generators, windows, and normalizations."""


def converted_types(model: ir.Model) -> tuple[str, ...]:
    """Names of the types that ComputeInFloat32Pass would convert: none for a graph that has it behind it."""
    graph = model.graph
    borders = _border_casts(graph)
    found = {value.dtype for value in graph.inputs if _reads_type(value, borders)}
    found |= {value.dtype for value in graph.outputs if _makes_type(value, borders)}
    kept = {*graph.inputs, *graph.outputs}
    found |= {value.dtype for each in _graphs(model) for value in _values(each) if value not in kept}
    return tuple(sorted(dtype.name.lower() for dtype in found & CONVERTED if dtype is not None))


class ComputeInFloat32Pass(ir.passes.InPlacePass):
    """Retype all values, constants, attributes and subgraphs of other floating-point types to float32."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        borders = _border_casts(graph)
        modified = False
        constants = [value for value in graph.initializers.values() if value.is_graph_output()]
        for value in [*graph.inputs, *constants]:
            if value.dtype in CONVERTED and _reads_type(value, borders):
                borders.add(_cast_input(graph, value, borders))
                modified = True
        for value in list(graph.outputs):
            producer = value.producer()
            if value.dtype in CONVERTED and _makes_type(value, borders):
                borders.add(_cast_output(graph, value))
                modified = True
            elif value.dtype in CONVERTED and producer is not None and value.uses():
                for use in list(value.uses()):
                    use.node.replace_input_with(use.idx, producer.inputs[0])
                modified = True
        kept = {*graph.inputs, *graph.outputs}
        for value in [value for each in _graphs(model) for value in _values(each)]:
            if value not in kept:
                modified |= _retype(value)
        for node in list(graph.all_nodes()):
            if node in borders:
                continue
            modified |= _retype_attributes(node)
            if _changes_nothing(node):
                _remove(node)
                modified = True
        return ir.passes.PassResult(model, modified=modified)


def _graphs(model: ir.Model) -> list[ir.Graph]:
    """The main graph and all subgraphs."""
    inner = [
        graph
        for node in model.graph.all_nodes()
        for attribute in node.attributes.values()
        for graph in _subgraphs(attribute)
    ]
    return [model.graph, *inner]


def _subgraphs(attribute: ir.Attr) -> list[ir.Graph]:
    if attribute.type == ir.AttributeType.GRAPH:
        return [attribute.as_graph()]
    return list(attribute.as_graphs()) if attribute.type == ir.AttributeType.GRAPHS else []


def _values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]


def _border_casts(graph: ir.Graph) -> set[ir.Node]:
    """Casts between float32 and an input or output (or a constant that is one) of another floating-point type."""
    return {node for node in graph if _is_input_cast(node) or _is_output_cast(node)}


def _is_input_cast(node: ir.Node) -> bool:
    source = node.inputs[0] if _cast_type(node) == ir.DataType.FLOAT else None
    return (
        source is not None
        and source.dtype in CONVERTED
        and (source.is_graph_input() or (source.is_initializer() and source.is_graph_output()))
    )


def _is_output_cast(node: ir.Node) -> bool:
    source = node.inputs[0] if _cast_type(node) in CONVERTED else None
    return source is not None and source.dtype == ir.DataType.FLOAT and node.outputs[0].is_graph_output()


def _cast_type(node: ir.Node) -> ir.DataType | None:
    """The type that a Cast makes; None for other nodes."""
    if node.op_type != "Cast" or node.domain not in ("", "ai.onnx"):
        return None
    return ir.DataType(node.attributes.get_int("to", ir.DataType.UNDEFINED))


def _reads_type(value: ir.Value, borders: set[ir.Node]) -> bool:
    """True where `value` is read by anyone but a Cast at the border."""
    return any(use.node not in borders for use in value.uses())


def _makes_type(value: ir.Value, borders: set[ir.Node]) -> bool:
    """True where `value` is made by anyone but a Cast at the border."""
    producer = value.producer()
    return producer is not None and producer not in borders


def _cast_input(graph: ir.Graph, value: ir.Value, borders: set[ir.Node]) -> ir.Node:
    """A Cast of `value` to float32, which all read that read `value` but those of `borders`."""
    readers = [use for use in value.uses() if use.node not in borders]
    cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT}, name=f"{value.name}_to_float")
    output = cast.outputs[0]
    output.name = _free_name(graph, f"{value.name}_float")
    output.dtype, output.shape = ir.DataType.FLOAT, value.shape and value.shape.copy()
    for use in readers:
        use.node.replace_input_with(use.idx, output)
    graph.insert_before(graph[0], cast)
    return cast


def _cast_output(graph: ir.Graph, value: ir.Value) -> ir.Node:
    """A Cast that gives the graph's output `value` its type; what it casts is float32 and has another name."""
    assert value.dtype is not None
    name, dtype = str(value.name), value.dtype
    cast = ir.node("Cast", [value], {"to": dtype}, name=f"{name}_from_float")
    outer = cast.outputs[0]
    outer.dtype, outer.shape = dtype, value.shape and value.shape.copy()
    for position, output in enumerate(list(graph.outputs)):
        if output is value:
            graph.outputs[position] = outer
    value.name = _free_name(graph, f"{name}_float")
    outer.name = name
    graph.append(cast)
    return cast


def _free_name(graph: ir.Graph, name: str) -> str:
    taken = {value.name for value in _values(graph)}
    taken |= {value.name for node in graph.all_nodes() for value in node.outputs}
    while name in taken:
        name += "_"
    return name


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
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in CONVERTED:
            node.attributes[name] = ir.AttrTensor(name, _as_float32(attribute.as_tensor()))
        elif (
            attribute.type == ir.AttributeType.INT
            and name in TYPE_ATTRIBUTES
            and attribute.as_int() in CONVERTED
        ):
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))
        else:
            continue
        modified = True
    return modified


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
    if node.op_type == "CastLike" and node.domain in ("", "ai.onnx") and node.inputs[1] is not None:
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
