"""Run a mirror and keep what some of its nodes read and make, so that gradients with respect to it can be taken."""

from typing import Any

from torch import Tensor, fx

from mpq_onnx.mirror.build import Mirror


class Recorder(fx.Interpreter):
    """Keeps the output of the watched nodes, and the inputs of the `readers` among all nodes."""

    def __init__(self, mirror: Mirror, watched: list[fx.Node], readers: set[fx.Node]) -> None:
        super().__init__(mirror.module)
        self.watched = set(watched)
        self.readers = readers
        self.values: dict[fx.Node, Tensor] = {}
        self.arguments: dict[fx.Node, tuple[Any, ...]] = {}

    def run_batch(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The model's outputs; gradients flow through the whole graph from its inputs on (the weights are frozen)."""
        return self.run(*(_differentiable(tensor) for tensor in inputs))  # type: ignore[no-any-return]

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n in self.watched:
            if not result.requires_grad:
                # A constant, or behind an embedding table or an integer input: start differentiating here.
                result = result.detach().requires_grad_()
            self.values[n] = result
        if n in self.readers:
            arguments = self.fetch_args_kwargs_from_env(n)[0]
            self.arguments[n] = tuple(
                each.detach() if isinstance(each, Tensor) else each for each in arguments
            )
        return result


def _differentiable(tensor: Tensor) -> Tensor:
    return tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor
