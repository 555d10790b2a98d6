"""Make the mirror of a QDQ graph trainable: constants computed once, Q-DQ pairs as straight-through quantizers."""

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.quantizers import Quantizer
from mpq_onnx.mirror.build import QUANTIZER, Mirror
from mpq_onnx.mirror.copying import copy_mirror
from mpq_onnx.mirror.quantized import FixedQuantizer


def straight_through(mirror: Mirror) -> Mirror:
    """A copy of a QDQ file's mirror through which gradients flow; a float mirror comes out as it is.

    Raises:
        ModelError: an activation quantizer with a scale per channel, or one that is not constant.
    """
    changed = copy_mirror(mirror, "StraightThroughMirror")
    _fold_constants(changed)
    for node in list(changed.module.graph.nodes):
        if QUANTIZER in node.meta:
            _replace_pair(changed, node)
    changed.module.graph.eliminate_dead_code()
    changed.module.recompile()
    changed.module.eval()
    changed.values = {
        name: node for name, node in changed.values.items() if node in set(changed.module.graph.nodes)
    }
    return changed


@torch.no_grad()
def _fold_constants(mirror: Mirror) -> None:
    """Replace every node that reads constants alone by what it makes."""
    module, graph = mirror.module, mirror.module.graph
    names = {node: name for name, node in mirror.values.items()}
    for node in list(graph.nodes):
        sources = node.all_input_nodes
        if node.op != "call_function" or not sources or any(each.op != "get_attr" for each in sources):
            continue
        constants = {each: getattr(module, str(each.target)) for each in sources}
        result = node.target(
            *fx.map_arg(node.args, constants.__getitem__), **fx.map_arg(node.kwargs, constants.__getitem__)
        )
        if not isinstance(result, Tensor):
            continue
        attribute = f"folded_{node.name}"
        if result.is_floating_point():
            module.register_parameter(attribute, nn.Parameter(result, requires_grad=False))
        else:
            module.register_buffer(attribute, result)
        with graph.inserting_before(node):
            constant = graph.get_attr(attribute)
        node.replace_all_uses_with(constant)
        if node in names:
            mirror.values[names[node]] = constant
        graph.erase_node(node)


def _replace_pair(mirror: Mirror, dequantize: fx.Node) -> None:
    """DequantizeLinear(Clip(QuantizeLinear(x))) or without the Clip -> one quantizer module."""
    module, where = mirror.module, dequantize.meta["onnx_name"]
    found: Quantizer = dequantize.meta[QUANTIZER]
    if found.quantize is None:
        return
    if found.scale is None or found.zero_point is None or found.scale.size != 1:
        raise ModelError(
            f"node {where}: cannot be trained through: its quantizer has no single constant scale"
        )
    source = found.quantize.inputs[0]  # a Clip in front stays, whatever it narrows
    ends = found.ends if found.real_limits is None else found.type_ends
    if ends is None or source is None:
        raise ModelError(f"node {where}: cannot be trained through: its Clip has no constant limits")
    shift = np.float32(int(found.zero_point.item()) - ends[0])
    quantizer = FixedQuantizer(np.float32(found.scale.item()), shift, ends[1] - ends[0] + 1)
    name = f"quantizer_{dequantize.name}"
    module.add_submodule(name, quantizer.to(mirror.device))
    with module.graph.inserting_before(dequantize):
        result = module.graph.call_module(name, (mirror.values[str(source.name)],))
    dequantize.replace_all_uses_with(result)
    for tensor, node in mirror.values.items():
        if node is dequantize:
            mirror.values[tensor] = result
