"""Forget the shapes that a file states for its inner tensors and outputs, and infer them from its inputs.

Exporters write wrong ones: names of axes that different lengths share (onnxruntime then reuses buffers of the wrong size),
lengths of the example that was traced, ranks of another branch. What inference cannot tell stays open; an output keeps its rank
and fixed lengths then, as ONNX wants a shape of it. Inputs are believed, but for a name that one input uses for two axes; of
what the body of a Loop or Scan is given, the rank.
"""

import math

import onnx_ir as ir

from mpq_onnx.passes.infer_shapes import InferShapesPass

LARGEST_FILLED = 2**20
"""Elements."""


class InferShapesAnewPass(ir.passes.InPlacePass):
    """Shapes by inference alone, in subgraphs too."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        stated = {value: value.shape for value in _computed(model)}
        for value in model.graph.inputs:
            if value.shape is not None:
                value.shape = _without_repeated_names(value.shape)
        for value in stated:
            value.shape = None
        for graph in model.graph.subgraphs():
            for value in graph.inputs:
                value.shape = _rank_alone(stated[value])
        for value in _counters(model):
            value.shape = ir.Shape([])
        InferShapesPass(check_type=False, strict_mode=False, data_prop=not _fills_memory(model))(model)
        for value in model.graph.outputs:
            if value.shape is None and stated.get(value) is not None:
                value.shape = ir.Shape([size if isinstance(size, int) else None for size in stated[value]])  # type: ignore[union-attr]
        return ir.passes.PassResult(
            model, modified=any(value.shape != shape for value, shape in stated.items())
        )


def _fills_memory(model: ir.Model) -> bool:
    """ONNX's propagation of values writes a ConstantOfShape out, however large it is."""
    targets = [
        node.inputs[0]
        for node in model.graph.all_nodes()
        if node.op_type == "ConstantOfShape" and node.inputs
    ]
    tensors = [ir.convenience.get_const_tensor(value) for value in targets if value is not None]
    sizes = [math.prod(tensor.numpy().reshape(-1).tolist()) for tensor in tensors if tensor is not None]
    return any(size > LARGEST_FILLED for size in sizes)


def _computed(model: ir.Model) -> list[ir.Value]:
    """All that a node computes, and what subgraphs are given; a tensor that is an initializer states its own shape."""
    inner = [value for graph in model.graph.subgraphs() for value in graph.inputs]
    return [*inner, *(value for node in model.graph.all_nodes() for value in node.outputs)]


def _counters(model: ir.Model) -> list[ir.Value]:
    """The turn's number and the condition that every Loop gives its body: scalars, whose shape onnxruntime wants stated."""
    bodies = [node.attributes.get("body") for node in model.graph.all_nodes() if node.op_type == "Loop"]
    # A broken file has none, or something else there.
    graphs = [each.as_graph() for each in bodies if each is not None and each.type == ir.AttributeType.GRAPH]
    return [value for graph in graphs for value in graph.inputs[:2]]


def _rank_alone(shape: ir.Shape | None) -> ir.Shape | None:
    """Lengths may change from turn to turn; the number of axes stays."""
    return None if shape is None else ir.Shape([None] * len(shape))


def _without_repeated_names(shape: ir.Shape) -> ir.Shape:
    """Height and width that share a name are any two lengths."""
    seen: set[str] = set()
    sizes: list[int | str | None] = []
    for size in shape:
        name = size if isinstance(size, int) else size.value
        sizes.append(None if isinstance(name, str) and name in seen else name)
        if isinstance(name, str):
            seen.add(name)
    return ir.Shape(sizes)
