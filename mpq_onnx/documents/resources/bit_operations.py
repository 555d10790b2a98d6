"""Resource bops: bit operations of one example, the products of the widths that meet at every multiply-accumulate."""

from functools import partial

from mpq_onnx.documents.resources.terms import ResourceFacts, Sum, Term, stored_width


def sums(facts: ResourceFacts) -> tuple[Sum, ...]:
    """MACs * bits of the one operand * bits of the other, 32 for float, attention included."""
    return (
        tuple(
            Term(
                entry.node,
                (entry.held, entry.input),
                partial(_bit_operations, entry.macs),
            )
            for entry in facts.entries
            if entry.macs
        ),
    )


def _bit_operations(macs: int, held: float | None, streamed: float | None) -> float:
    return macs * stored_width(held) * stored_width(streamed)
