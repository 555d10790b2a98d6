"""Run a float and a quantized stream through a mirror side by side over a whole data set, stopping at some of its nodes.

At a stop the inputs of all batches are at hand, and after it its outputs. So a method that works layer by layer (rounding, bias
correction) costs one forward pass, not one per layer. Between two stops one batch after the other goes its way, and only what
is still read at the next stop is kept of all of them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, fx

from mpq_onnx.mirror.build import Mirror

Values = dict[fx.Node, Any]
LARGEST_HALF = 60000.0
"""Larger numbers float16 does not hold."""


class ByBatch(Sequence[Any]):
    """Something of every batch, made when it is asked for."""

    def __init__(self, batches: Sequence[Values], make: Callable[[Values], Any]) -> None:
        self.batches, self.make = batches, make

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: Any) -> Any:
        return self.make(self.batches[index])


@dataclass
class Streams:
    """The inputs of one node, a tuple for every batch, in float and in the quantized stream."""

    exact: ByBatch
    quantized: ByBatch


class Visitor(Protocol):
    """What is done at the stops; either may change what the quantized stream reads from then on (see Stepper.replace)."""

    def before(self, node: fx.Node, streams: Streams) -> None:
        """Called before a node is run."""

    def after(self, node: fx.Node, exact: Sequence[Any], quantized: Sequence[Any]) -> Tensor | None:
        """Called with its outputs, batch by batch; what it returns is added to those of the quantized stream."""


class Stepper:
    """Walks a quantized mirror; the float stream skips its quantizers and sees the original constants."""

    def __init__(
        self, mirror: Mirror, batches: Sequence[Sequence[Tensor]], kept_as: torch.dtype = torch.float32
    ) -> None:
        """Args:
        batches: the model's inputs in order, for every batch.
        kept_as: what values wait in for the next stop, float32 or float16.
        """
        self.mirror = mirror
        self.pack = _as_half if kept_as == torch.float16 else _as_it_is
        self.replaced: Values = {}
        graph = mirror.module.graph
        inputs = [node for node in graph.nodes if node.op == "placeholder"]
        self.exact, self.quantized = (
            [dict(zip(inputs, batch, strict=True)) for batch in batches] for _ in range(2)
        )
        self.constants = {
            node: getattr(mirror.module, str(node.target)) for node in graph.nodes if node.op == "get_attr"
        }
        self.last_uses = _last_uses(graph)

    def replace(self, constant: fx.Node, value: Tensor) -> None:
        """From now on, the quantized stream reads `value` where the graph reads `constant`."""
        self.replaced[constant] = value

    @torch.no_grad()
    def walk(self, stops: Collection[fx.Node], visitor: Visitor) -> list[tuple[Any, Any]]:
        """Run all nodes in order; returns (exact, quantized) outputs of each batch."""
        results: list[tuple[Any, Any]] = []
        for stop, segment in _segments(self.mirror.module.graph, stops):
            if stop is not None:
                self._stop(stop, visitor)
            for exact, quantized in zip(self.exact, self.quantized, strict=True):
                for node in segment:
                    if node.op == "output":
                        results.append(
                            (self._exact(node.args[0], exact), self._quantized(node.args[0], quantized))
                        )
                        continue
                    exact[node] = self._run_exact(node, exact)
                    quantized[node] = self._run_quantized(node, quantized)
                    self._drop(node, exact, quantized)
                self.pack(exact)
                self.pack(quantized)
        return results

    def _stop(self, node: fx.Node, visitor: Visitor) -> None:
        def arguments(resolve: Callable[[Any, Values], Any]) -> Callable[[Values], tuple[Any, ...]]:
            return lambda values: tuple(resolve(each, values) for each in node.args)

        visitor.before(
            node,
            Streams(
                ByBatch(self.exact, arguments(self._exact)),
                ByBatch(self.quantized, arguments(self._quantized)),
            ),
        )
        for exact, quantized in zip(self.exact, self.quantized, strict=True):
            exact[node] = self._run_exact(node, exact)
            quantized[node] = self._run_quantized(node, quantized)
            self._drop(node, exact, quantized, but=node)
            self.pack(exact)
            self.pack(quantized)
        outputs = (
            ByBatch(batches, lambda values: self._exact(node, values))
            for batches in (self.exact, self.quantized)
        )
        added = visitor.after(node, *outputs)
        for exact, quantized in zip(self.exact, self.quantized, strict=True):
            if added is not None:
                quantized[node] = self._exact(node, quantized) + added
                self.pack(quantized)
            self._drop(node, exact, quantized)

    def _drop(self, node: fx.Node, *streams: Values, but: fx.Node | None = None) -> None:
        for done in self.last_uses.get(node, ()):
            for values in streams:
                if done is not but:
                    values.pop(done, None)

    def _run_exact(self, node: fx.Node, values: Values) -> Any:
        if node.op == "call_module":  # a quantizer
            return self._exact(node.args[0], values)
        return node.target(*self._exact(node.args, values), **self._exact(node.kwargs, values))  # type: ignore[operator]

    def _run_quantized(self, node: fx.Node, values: Values) -> Any:
        arguments = self._quantized(node.args, values)
        if node.op == "call_module":
            return self.mirror.module.get_submodule(str(node.target))(*arguments)
        return node.target(*arguments, **self._quantized(node.kwargs, values))  # type: ignore[operator]

    def _exact(self, argument: Any, values: Values) -> Any:
        return _resolve(argument, values, self.constants)

    def _quantized(self, argument: Any, values: Values) -> Any:
        return _resolve(argument, self.replaced, values, self.constants)


def most_alive(mirror: Mirror, stops: Collection[fx.Node], elements: Mapping[str, int]) -> int:
    """The most elements of one example that are kept at a stop, or behind it, in one stream.

    Args:
        elements: of one example, by the name of the ONNX tensor; other values count as none.
    """
    graph = mirror.module.graph
    sizes = {node: elements.get(tensor, 0) for tensor, node in mirror.values.items()}
    for node in graph.nodes:
        if node.op == "call_module":  # a quantizer
            sizes[node] = sizes.get(node.all_input_nodes[0], 0)
        elif node.op == "get_attr":
            sizes[node] = 0
    last_uses = _last_uses(graph)
    alive, most = 0, 0
    for node in graph.nodes:
        alive += sizes.get(node, 0)
        if node in stops:
            most = max(most, alive)
        alive -= sum(sizes.get(each, 0) for each in last_uses.get(node, ()))
    return most


def _segments(graph: fx.Graph, stops: Collection[fx.Node]) -> Iterator[tuple[fx.Node | None, list[fx.Node]]]:
    """Each stop, None for the first, with the nodes between it and the next."""
    stop: fx.Node | None = None
    segment: list[fx.Node] = []
    for node in graph.nodes:
        if node in stops:
            yield stop, segment
            stop, segment = node, []
        elif node.op not in ("placeholder", "get_attr"):
            segment.append(node)
    yield stop, segment


def _resolve(argument: Any, *tables: Values) -> Any:
    def look_up(node: fx.Node) -> Any:
        found = next(table[node] for table in tables if node in table)
        return found.unpacked if isinstance(found, _Packed) else found

    return fx.map_arg(argument, look_up)


@dataclass(frozen=True)
class _Packed:
    """Numbers of a whole data set that wait for their next use, in half the memory."""

    half: Tensor

    @property
    def unpacked(self) -> Tensor:
        return self.half.float()


def _as_half(values: Values) -> None:
    """Pack what is float32, but for tensors with numbers that float16 does not hold."""
    for node, value in values.items():
        is_float = isinstance(value, Tensor) and value.dtype == torch.float32 and value.numel() > 0
        if is_float and float(value.abs().amax()) < LARGEST_HALF:
            values[node] = _Packed(value.half())


def _as_it_is(values: Values) -> None:
    """Leave all as it is."""


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
