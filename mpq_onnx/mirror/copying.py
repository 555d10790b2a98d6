"""An independent graph over the same constants: what mirrors with quantizers, noise or other outputs are made from."""

import copy
from collections.abc import Sequence

from torch import fx

from mpq_onnx.mirror.build import Mirror


def copy_mirror(mirror: Mirror, name: str) -> Mirror:
    """A copy of `mirror` whose graph may be changed; parameters, buffers and submodules are shared with `mirror`.

    Args:
        name: class name of the new module.
    """
    graph = fx.Graph()
    mapping: dict[fx.Node, fx.Node] = {}
    graph.output(graph.graph_copy(mirror.module.graph, mapping))
    root = copy.copy(mirror.module)
    root._modules = dict(mirror.module._modules)
    module = fx.GraphModule(root, graph, name)
    module._parameters.update(mirror.module._parameters)
    module._buffers.update(mirror.module._buffers)
    return Mirror(
        module, mirror.inputs, mirror.outputs, {name: mapping[node] for name, node in mirror.values.items()}
    )


def with_outputs(mirror: Mirror, tensors: Sequence[str]) -> Mirror:
    """A mirror that returns `tensors`, names of the ONNX graph, instead of the model's outputs; `mirror` itself if it does."""
    if tuple(tensors) == mirror.outputs:
        return mirror
    changed = copy_mirror(mirror, "Mirror")
    (output,) = (node for node in changed.module.graph.nodes if node.op == "output")
    output.args = (tuple(changed.values[name] for name in tensors),)
    changed.outputs = tuple(tensors)
    changed.module.recompile()
    changed.module.eval()
    return changed
