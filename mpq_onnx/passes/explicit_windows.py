"""Write out what ONNX lets convolutions and pools leave out, such as kernel_shape and strides: hardware tools expect it."""

from collections.abc import Sequence

import onnx
import onnx_ir as ir

CONVOLUTIONS = ("Conv", "ConvTranspose")
ATTRIBUTES = {
    "Conv": ("kernel_shape", "strides", "pads", "dilations"),
    "ConvTranspose": ("kernel_shape", "strides", "pads", "dilations"),
    "MaxPool": ("strides", "pads", "dilations"),
    "AveragePool": ("strides", "pads"),
}
OLDEST_OPSET = 1
"""MaxPool has no dilations before opset 10."""


class ExplicitWindowsPass(ir.passes.InPlacePass):
    """Give every convolution and pool all of its attributes; pads only where there is no auto_pad."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
        opset = model.opset_imports.get("", OLDEST_OPSET)
        missing = [
            (node, attribute)
            for graph in graphs
            for node in graph.all_nodes()
            if node.op_type in ATTRIBUTES and not node.domain
            for attribute in _missing(node)
            if attribute.name in onnx.defs.get_schema(node.op_type, opset).attributes
        ]
        for node, attribute in missing:
            node.attributes.add(attribute)
        return ir.passes.PassResult(model, modified=bool(missing))


def window_attributes(node: ir.Node, kernel: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """kernel_shape, strides, pads and dilations of a convolution or pool, ONNX's defaults filled in."""
    ones = (1,) * len(kernel)
    defaults = {
        "kernel_shape": tuple(kernel),
        "strides": ones,
        "pads": (0,) * (2 * len(kernel)),
        "dilations": ones,
    }
    return {name: tuple(node.attributes.get_ints(name, values)) for name, values in defaults.items()}


def _missing(node: ir.Node) -> list[ir.Attr]:
    kernel = _kernel(node)
    if kernel is None:
        return []
    found: list[ir.Attr] = [
        ir.AttrInt64s(name, values)
        for name, values in window_attributes(node, kernel).items()
        if name in ATTRIBUTES[node.op_type]
        and name not in node.attributes
        and not (name == "pads" and "auto_pad" in node.attributes)
    ]
    if node.op_type in CONVOLUTIONS and "group" not in node.attributes:
        found.append(ir.AttrInt64("group", 1))
    return found


def _kernel(node: ir.Node) -> tuple[int, ...] | None:
    """The window's size; None where it cannot be told."""
    if "kernel_shape" in node.attributes:
        return tuple(node.attributes["kernel_shape"].as_ints())
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is None or weight.shape is None or not weight.shape.is_static():
        return None
    return tuple(weight.shape.numpy()[2:])
