"""An independent graph over the same constants: what mirrors with quantizers or noise are made from."""

import copy

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
