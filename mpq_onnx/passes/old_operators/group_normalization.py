"""GroupNormalization before opset 21: a scale and a bias a group, where today there is one a channel."""

from collections.abc import Sequence

import onnx_ir as ir

from mpq_onnx.errors import ModelError

CHANGED_IN = 21


def restate(node: ir.Node, opset: int) -> Sequence[ir.Node] | None:
    """The same with every group's scale and bias repeated for its channels.

    Raises:
        ModelError: the number of channels is not known.
    """
    if opset >= CHANGED_IN:
        return None
    data, scale, bias = node.inputs[:3]
    assert data is not None and scale is not None and bias is not None
    channels = data.shape[1] if data.shape is not None and len(data.shape) > 1 else None
    groups = node.attributes.get_int("num_groups")
    if not isinstance(channels, int) or not groups or channels % groups:
        raise ModelError(
            f"node {node.name} (GroupNormalization of opset {opset}): its number of channels is not known;"
            f" export with opset {CHANGED_IN}"
        )
    nodes: list[ir.Node] = []
    repeated = [_repeat(nodes, value, channels // groups) for value in (scale, bias)]
    return [*nodes, ir.Node("", "GroupNormalization", [data, *repeated], node.attributes.values())]


def _repeat(nodes: list[ir.Node], value: ir.Value, count: int) -> ir.Value:
    """Every element `count` times in a row; the nodes go into `nodes`."""
    column, grid, flat = ([-1, 1], [1, count], [-1])
    for operator, sizes in (("Reshape", column), ("Expand", grid), ("Reshape", flat)):
        target = ir.node("Constant", [], {"value": ir.tensor(sizes, dtype=ir.DataType.INT64)})
        nodes += [target, ir.node(operator, [value, target.outputs[0]])]
        value = nodes[-1].outputs[0]
    return value
