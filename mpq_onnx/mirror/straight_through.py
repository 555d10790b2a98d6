"""Make the mirror of a QDQ graph trainable: constants computed once, Q-DQ pairs as straight-through quantizers."""

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_onnx.errors import ModelError
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.copying import copy_mirror
from mpq_onnx.mirror.ops import OP_TABLE
from mpq_onnx.mirror.quantized import FixedQuantizer

DEQUANTIZE, QUANTIZE, CLIP = (OP_TABLE[name] for name in ("DequantizeLinear", "QuantizeLinear", "Clip"))


def straight_through(mirror: Mirror) -> Mirror:
    """A copy of a QDQ file's mirror through which gradients flow; a float mirror comes out as it is.

    Raises:
        ModelError: an activation quantizer with a scale per channel, or one that is not constant.
    """
    changed = copy_mirror(mirror, "StraightThroughMirror")
    _fold_constants(changed)
    for node in list(changed.module.graph.nodes):
        if node.op == "call_function" and node.target is DEQUANTIZE:
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
    module = mirror.module
    narrow = dequantize.args[0]
    assert isinstance(narrow, fx.Node)
    quantize = narrow.args[0] if narrow.target is CLIP else narrow
    if not isinstance(quantize, fx.Node) or quantize.target is not QUANTIZE:
        return
    where = dequantize.meta.get("onnx_name", dequantize.name)
    scale, zero_point = (_constant(module, argument) for argument in (*quantize.args[1:], None)[:2])
    if scale is None or scale.numel() != 1:
        raise ModelError(
            f"node {where}: cannot be trained through: its quantizer has no single constant scale"
        )
    kind = torch.uint8 if zero_point is None else zero_point.dtype
    lowest, highest = torch.iinfo(kind).min, torch.iinfo(kind).max
    if narrow.target is CLIP:
        limits = [_constant(module, argument) for argument in narrow.args[1:]]
        if any(limit is None for limit in limits) or len(limits) != 2:
            raise ModelError(f"node {where}: cannot be trained through: its Clip has no constant limits")
        lowest, highest = (int(limit.item()) for limit in limits)  # type: ignore[union-attr]
    shift = 0 if zero_point is None else int(zero_point.item())
    levels = highest - lowest + 1
    quantizer = FixedQuantizer(np.float32(scale.item()), np.float32(shift - lowest), levels).to(scale.device)
    name = f"quantizer_{dequantize.name}"
    module.add_submodule(name, quantizer)
    with module.graph.inserting_before(dequantize):
        result = module.graph.call_module(name, (quantize.args[0],))
    dequantize.replace_all_uses_with(result)
    for tensor, node in mirror.values.items():
        if node is dequantize:
            mirror.values[tensor] = result


def _constant(module: nn.Module, argument: object) -> Tensor | None:
    if isinstance(argument, fx.Node) and argument.op == "get_attr":
        return getattr(module, str(argument.target))  # type: ignore[no-any-return]
    return None
