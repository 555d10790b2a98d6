"""Terms of a resource: what is added for a tensor, or for two that meet at a multiply-accumulate, by their widths."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpq_onnx.documents.node_precision import NodePrecision

FLOAT_BITS = 32.0
"""What a value that stays float takes."""
Widths = Mapping[str, float | None]
"""By tensor: bits as they count, the mean over channels for a weight; None, as no entry, for float."""


@dataclass(frozen=True)
class Term:
    """What one node adds."""

    node: str
    tensors: tuple[str | None, ...]
    """Names of the weights or activations whose widths decide; None for one that is always float."""
    amount: Callable[..., float]
    """Takes the width of each of `tensors`, None for float."""

    def at(self, widths: Widths) -> float:
        """The amount at given widths."""
        return self.amount(*(None if name is None else widths.get(name) for name in self.tensors))


Sum = tuple[Term, ...]


@dataclass(frozen=True)
class ResourceFacts:
    """What a resource is computed from."""

    entries: Sequence["NodePrecision"]
    """Of a model in graph order; their own widths are not looked at."""
    alive: tuple[tuple[str, ...], ...] = ()
    """Quantized activations that are in memory at the same time (see graph.live_tensors); none without the graph."""


def spent(sums: Sequence[Sum], widths: Widths) -> float:
    """The largest of the sums: a resource that is taken again and again has several, one a time."""
    return max((math.fsum(term.at(widths) for term in each) for each in sums), default=0.0)


def tensors_of(sums: Sequence[Sum]) -> set[str]:
    """All whose widths matter."""
    return {name for terms in sums for term in terms for name in term.tensors if name is not None}


def stored_width(bits: float | None) -> float:
    """Bits of a value, 32 for float."""
    return FLOAT_BITS if bits is None else bits
