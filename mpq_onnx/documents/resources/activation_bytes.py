"""Resource activation_bytes: the most memory that quantized activations take at any time while one example passes."""

from functools import partial

from mpq_onnx.documents.resources.terms import ResourceFacts, Sum, Term
from mpq_onnx.documents.resources.weight_bytes import stored_bytes


def sums(facts: ResourceFacts) -> tuple[Sum, ...]:
    """A sum a time: elements * bits / 8 over the activations that something still reads."""
    terms = {
        entry.activation: Term(
            entry.node, (entry.activation,), partial(stored_bytes, entry.activation_elements)
        )
        for entry in facts.entries
        if entry.activation is not None
    }
    return tuple(tuple(terms[name] for name in names if name in terms) for names in facts.alive)
