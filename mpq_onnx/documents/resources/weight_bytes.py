"""Resource weight_bytes: every weight stored once, at its width."""

from functools import partial

from mpq_onnx.documents.resources.terms import ResourceFacts, Sum, Term, stored_width


def sums(facts: ResourceFacts) -> tuple[Sum, ...]:
    """elements * bits / 8, 32 bits for float, embedding tables included."""
    return (
        tuple(
            Term(entry.node, (entry.weight,), partial(stored_bytes, entry.weight_elements))
            for entry in facts.entries
            if entry.weight_elements
        ),
    )


def stored_bytes(elements: int, bits: float | None) -> float:
    """Of a tensor that is packed."""
    return elements * stored_width(bits) / 8
