"""A block of a graph as a module of its own, whose rounded weights and corrected biases are inputs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, fx, nn

from mpq_onnx.graph.mac import BIAS_INPUT
from mpq_onnx.rounding.blocks import Block

ModuleOf = Callable[[str], nn.Module | None]
"""What stands where the graph has a quantizer of this name; None for nothing."""
ConstantOf = Callable[[fx.Node], Tensor]
"""The value of a constant of the graph."""


@dataclass(frozen=True)
class BlockModule:
    """A block that can be run."""

    module: fx.GraphModule

    def __call__(self, inputs: Sequence[Tensor], given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The block's outputs for the values of its inputs and of what varies, in order."""
        # forward: GraphModule.__call__ prints a traceback of its own when an op fails.
        return self.module.forward(*inputs, *given)  # type: ignore[no-any-return]


def block_module(
    block: Block,
    constant: ConstantOf,
    quantizer: ModuleOf,
    varying: Sequence[fx.Node] = (),
    biased: Sequence[fx.Node] = (),
) -> BlockModule:
    """The module of `block`.

    Args:
        varying: constants of the graph whose values are given at every call.
        biased: nodes whose third input, the bias, is given too, after them.
    """
    graph = fx.Graph()
    mapping: dict[fx.Node, fx.Node] = {}
    for index, node in enumerate((*block.inputs, *varying)):
        mapping[node] = graph.placeholder(f"value_{index}")
    biases = {node: graph.placeholder(f"bias_{index}") for index, node in enumerate(biased)}
    root = nn.Module()

    def mapped(node: fx.Node) -> fx.Node:
        if node not in mapping:  # a constant that stays
            name = f"constant_{len(mapping)}"
            root.register_buffer(name, constant(node))
            mapping[node] = graph.get_attr(name)
        return mapping[node]

    for node in block.nodes:
        if node.op == "call_module":
            found = quantizer(str(node.target))
            if found is None:
                mapping[node] = mapped(node.all_input_nodes[0])
                continue
            root.add_module(str(node.target), found)
        arguments = fx.map_arg(node.args, mapped)
        if node in biases:
            arguments = (*arguments[:BIAS_INPUT], biases[node])
        mapping[node] = graph.create_node(node.op, node.target, arguments, fx.map_arg(node.kwargs, mapped))
    graph.output(tuple(mapping[node] for node in block.outputs))
    return BlockModule(fx.GraphModule(root, graph, "Block").eval())
