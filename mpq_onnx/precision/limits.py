"""Limits on what a device counts: bytes, bit operations, latency, energy; several at once, beside the mean widths."""

from collections.abc import Collection
from dataclasses import dataclass

from mpq_onnx.documents.resources.terms import Sum, Term, Widths, spent

TOLERANCE = 1e-9
"""Relative: sums in another order must not be above a limit."""
ROUND_UP = 5e-6
"""Relative: half of the last of six digits."""


@dataclass(frozen=True)
class Limit:
    """At most so much of a resource."""

    resource: str
    most: float
    sums: tuple[Sum, ...]
    """The largest of them is bounded."""

    def spent(self, widths: Widths) -> float:
        """What the widths take of it."""
        return spent(self.sums, widths)

    def holds(self, widths: Widths) -> bool:
        """It is kept."""
        return self.spent(widths) <= self.most * (1 + TOLERANCE)


def settled(term: Term, fixed: Widths, free: Collection[str]) -> Term:
    """The term as a function of the widths of its free tensors alone."""
    if all(name in free for name in term.tensors):
        return term
    places = [place for place, name in enumerate(term.tensors) if name in free]
    known = [None if name is None or name in free else fixed.get(name) for name in term.tensors]

    def amount(*own: float | None) -> float:
        widths = list(known)
        for place, width in zip(places, own, strict=True):
            widths[place] = width
        return term.amount(*widths)

    return Term(term.node, tuple(term.tensors[place] for place in places), amount)


def not_below(amount: float) -> str:
    """In six digits, rounded up: what is named can be asked for."""
    text = f"{amount:.6g}"
    return text if float(text) >= amount else f"{amount * (1 + ROUND_UP):.6g}"
