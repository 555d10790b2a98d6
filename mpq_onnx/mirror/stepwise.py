"""Run a float and a quantized stream through a mirror side by side, one node at a time over the whole data set.

Every node is visited once, with its inputs for all batches at hand; values are dropped after their last use. So a method
that works layer by layer (rounding, bias correction) costs one forward pass, not one per layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_onnx.mirror.build import Mirror


@dataclass
class Streams:
    """The inputs of one node, batch by batch, in float and in the quantized stream."""

    exact: list[tuple[Any, ...]]
    quantized: list[tuple[Any, ...]]


Visitor = Callable[[fx.Node, Streams], None]
"""Called before a node is run; may change the parameters that the quantized stream will use (see Stepper.replace)."""


class Stepper:
    """Walks a quantized mirror; the float stream skips its quantizers and sees the original constants."""

    def __init__(self, mirror: Mirror, batches: Sequence[Sequence[Tensor]]) -> None:
        """Args: batches: the model's inputs in order, for every batch."""
        self.mirror = mirror
        self.batches = batches
        self.replaced: dict[fx.Node, Tensor] = {}
        self.biases: dict[fx.Node, Tensor] = {}

    def replace(self, constant: fx.Node, value: Tensor) -> None:
        """From now on, the quantized stream reads `value` where the graph reads `constant`."""
        self.replaced[constant] = value

    def set_bias(self, node: fx.Node, bias: Tensor) -> None:
        """From now on, the quantized stream gives `bias` to `node` as its third input."""
        self.biases[node] = bias

    @torch.no_grad()
    def walk(self, visit: Visitor) -> list[tuple[Any, Any]]:
        """Run all nodes in order, `visit` first; returns (exact, quantized) outputs of each batch."""
        module = self.mirror.module
        last_use = _last_uses(module.graph)
        exact: list[dict[fx.Node, Any]] = [{} for _ in self.batches]
        quantized: list[dict[fx.Node, Any]] = [{} for _ in self.batches]
        placeholders = iter(range(len(self.mirror.inputs)))
        results: list[tuple[Any, Any]] = []
        for node in module.graph.nodes:
            if node.op == "placeholder":
                position = next(placeholders)
                for values, inputs in zip((*exact, *quantized), (*self.batches, *self.batches), strict=True):
                    values[node] = inputs[position]
            elif node.op == "get_attr":
                constant = getattr(module, node.target)
                for values in (*exact, *quantized):
                    values[node] = constant
            elif node.op == "output":
                for a, b in zip(exact, quantized, strict=True):
                    results.append((_resolve(node.args[0], a, {}), _resolve(node.args[0], b, self.replaced)))
            else:
                visit(node, self._streams(node, exact, quantized))
                for a, b in zip(exact, quantized, strict=True):
                    a[node] = self._run_exact(module, node, a)
                    b[node] = self._run_quantized(module, node, b)
            for done in last_use.get(node, ()):
                for values in (*exact, *quantized):
                    values.pop(done, None)
        return results

    def _streams(
        self, node: fx.Node, exact: list[dict[fx.Node, Any]], quantized: list[dict[fx.Node, Any]]
    ) -> Streams:
        return Streams(
            [tuple(_resolve(argument, values, {}) for argument in node.args) for values in exact],
            [
                tuple(_resolve(argument, values, self.replaced) for argument in node.args)
                for values in quantized
            ],
        )

    def _run_exact(self, module: nn.Module, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        if node.op == "call_module":  # a quantizer
            return _resolve(node.args[0], values, {})
        return node.target(*_resolve(node.args, values, {}), **_resolve(node.kwargs, values, {}))  # type: ignore[operator]

    def _run_quantized(self, module: nn.Module, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        arguments = _resolve(node.args, values, self.replaced)
        if node.op == "call_module":
            return module.get_submodule(str(node.target))(*arguments)
        if node in self.biases:
            arguments = (*arguments[:2], self.biases[node])
        return node.target(*arguments, **_resolve(node.kwargs, values, self.replaced))  # type: ignore[operator]


def _resolve(argument: Any, values: dict[fx.Node, Any], replaced: dict[fx.Node, Tensor]) -> Any:
    return fx.map_arg(argument, lambda node: replaced[node] if node in replaced else values[node])


def _last_uses(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """For every node, the values that nobody reads after it."""
    last: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        last.setdefault(node, node)
        for source in node.all_input_nodes:
            last[source] = node
    result: dict[fx.Node, list[fx.Node]] = {}
    for source, user in last.items():
        result.setdefault(user, []).append(source)
    return result
