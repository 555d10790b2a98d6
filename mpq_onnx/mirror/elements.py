"""How much a mirror makes of what it is given."""

from typing import Any

import torch
from torch import Tensor, fx

from mpq_onnx.mirror.build import Mirror


class _Counter(fx.Interpreter):
    """Adds up the elements of what the nodes compute."""

    elements = 0

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op in ("call_function", "call_module"):
            made = result if isinstance(result, tuple) else (result,)
            self.elements += sum(each.numel() for each in made if isinstance(each, Tensor))
        return result


@torch.no_grad()
def elements_made(mirror: Mirror, inputs: tuple[Tensor, ...]) -> int:
    """Elements of all values that are computed from `inputs`."""
    counter = _Counter(mirror.module)
    counter.run(*inputs)
    return counter.elements
