"""How much a mirror makes of what it is given."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from mpq_onnx.graph.batch_memory import examples_at_once
from mpq_onnx.mirror.build import Mirror

FORWARD_MEMORY = 2**28
"""Bytes that a forward pass may take."""
VALUES_AT_ONCE = 4
"""As large as the largest, in a forward pass: what a node reads and makes, what a sum waits for, and a quantizer's work."""


@dataclass
class Elements:
    """Of what the nodes compute from given inputs."""

    total: int = 0
    """Views of what there is already count nothing."""
    largest: int = 0
    """Of one node."""


def forward_batch(largest: int, most: int) -> int:
    """How many examples go through a network at once where no gradients are taken, its largest value having `largest`
    elements an example."""
    return examples_at_once(VALUES_AT_ONCE * largest, most, FORWARD_MEMORY)


class _Counter(fx.Interpreter):
    """Counts the elements of what the nodes compute."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.elements = Elements()

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op in ("call_function", "call_module"):
            made = [
                each
                for each in (result if isinstance(result, tuple) else (result,))
                if isinstance(each, Tensor)
            ]
            count = sum(each.numel() for each in made)
            read = {place for each in n.all_input_nodes for place in _places(self.env[each])}
            self.elements.total += sum(each.numel() for each in made if read.isdisjoint(_places(each)))
            self.elements.largest = max(self.elements.largest, count)
        return result


def _places(value: Any) -> list[int]:
    """Of a tensor in memory; of something else, none."""
    return [value.untyped_storage().data_ptr()] if isinstance(value, Tensor) else []


@torch.no_grad()
def elements_made(mirror: Mirror, inputs: tuple[Tensor, ...]) -> Elements:
    """See Elements."""
    counter = _Counter(mirror.module)
    counter.run(*inputs)
    return counter.elements
