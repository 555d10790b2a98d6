"""Give every node a unique and stable name, from the source module path where the exporter left one."""

import ast

import onnx_ir as ir

from mpq_onnx.graph.node_names import own_name, unique_name

NAME_SCOPES = "pkg.torch.onnx.name_scopes"
"""torch.onnx.export's record of the module path: a list such as ['', 'layer1', 'layer1.0.conv1', 'conv2d']."""


class NameNodesPass(ir.passes.InPlacePass):
    """Name nodes by their weight, else by module path, else by the exporter's name, else by output tensor."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graphs: tuple[ir.Graph | ir.Function, ...] = (model.graph, *model.functions.values())
        modified = [_name_nodes(graph) for graph in graphs]
        return ir.passes.PassResult(model, modified=any(modified))


def _name_nodes(graph: ir.Graph | ir.Function) -> bool:
    nodes = list(graph.all_nodes())
    before = [node.name for node in nodes]
    taken: set[str] = set()
    # Nodes with weights choose first: the module's plain path belongs to its Conv, not to a Reshape inside it.
    for node in sorted(nodes, key=lambda node: not any(_is_parameter(value) for value in node.inputs)):
        node.name = unique_name(_proposal(node), taken)
    return before != [node.name for node in nodes]


def _proposal(node: ir.Node) -> str:
    for value in node.inputs:
        if _is_parameter(value) and str(value.name).endswith(".weight"):  # type: ignore[union-attr]
            return str(value.name).removesuffix(".weight")  # type: ignore[union-attr]
    path = _module_path(node)
    if path:
        return path
    return node.name or own_name(node)


def _module_path(node: ir.Node) -> str:
    scopes = node.metadata_props.get(NAME_SCOPES)
    if scopes is None:
        return ""
    try:
        modules = ast.literal_eval(scopes)[:-1]  # the last scope is the aten node itself
    except (ValueError, SyntaxError):
        return ""
    path = modules[-1] if modules else ""
    if not path:
        return ""
    return path if any(_is_parameter(value) for value in node.inputs) else f"{path}.{node.op_type}"


def _is_parameter(value: ir.Value | None) -> bool:
    """A constant with at least two dimensions and a floating-point type: a weight."""
    return (
        value is not None
        and value.const_value is not None
        and len(value.const_value.shape) >= 2
        and value.const_value.dtype.is_floating_point()
    )
