"""In which form a file is quantized, and at how many bits, read from its graph: of any maker's file, in a few words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mpq_onnx.registries import DYNAMIC
from mpq_onnx.report.graph_facts import GraphFacts, TensorFacts, type_bits

FLOAT = "float"


@dataclass(frozen=True)
class MeanBits:
    """Mean bits of weights and activations; None where all is float."""

    mean_weight_bits: float | None
    """Over the weights of multiply-accumulate nodes that are quantized."""
    mean_activation_bits: float | None
    """Over the quantizers."""


def format_name(facts: GraphFacts) -> str:
    """QDQ, integer operators by name and count, dynamic ranges of QDQ; or float."""
    forms = []
    if any(layer.weight for layer in facts.layers) or facts.activations:
        forms.append("QDQ")
    if facts.integer_operators:
        counts = ", ".join(f"{count} {name}" for name, count in facts.integer_operators.items())
        forms.append(f"integer operators: {counts}")
    if any(tensor.ranges == DYNAMIC for tensor in facts.activations):
        forms.append("dynamic ranges")
    return ", ".join(forms) or FLOAT


def stored_bits_of(facts: GraphFacts) -> MeanBits:
    """The means of the types that a graph stores and computes in.

    They are containers: a type's bits bound those of a file that uses fewer levels than its types have.
    """
    return _mean_bits(facts, lambda tensor: type_bits(tensor.container))


def shown_bits_of(facts: GraphFacts) -> MeanBits:
    """The means of the levels that a graph shows, where a Clip leaves fewer than the types have."""
    return _mean_bits(facts, lambda tensor: tensor.bits)


def _mean_bits(facts: GraphFacts, bits_of: Callable[[TensorFacts], float | None]) -> MeanBits:
    weights: list[tuple[int, float]] = [
        (layer.weights, bits)
        for layer in facts.layers
        if layer.constant and layer.weight is not None and (bits := bits_of(layer.weight))
    ]
    weights += [(layer.weights, layer.bits) for layer in facts.integer_weights]
    activations = [(1, bits) for tensor in facts.activations if (bits := bits_of(tensor))]
    return MeanBits(_mean(weights), _mean(activations))


def format_text(facts: GraphFacts) -> str:
    """Form and widths in one line, with the layers whose weights stay float."""
    name, widths = format_name(facts), stored_bits_of(facts)
    if name == FLOAT:
        return name
    parts = [name]
    if widths.mean_weight_bits is not None:
        held = [layer.weight for layer in facts.layers if layer.constant and layer.weight is not None]
        if any(weight.stored_float for weight in held):
            parts.append(f"weights float, rounded to {shown_bits_of(facts).mean_weight_bits:.3g} bits")
        else:
            parts.append(f"weights stored in {widths.mean_weight_bits:.3g} bits")
    if widths.mean_activation_bits is not None:
        parts.append(f"activations stored in {widths.mean_activation_bits:.3g} bits")
    left = sum(layer.constant and layer.weight is None for layer in facts.layers)
    if left:
        parts.append(f"weights of {left} of {len(facts.layers) + len(facts.integer_weights)} layers float")
    return "; ".join(parts)


def _mean(counted: Sequence[tuple[int, float]]) -> float | None:
    total = sum(count for count, _ in counted)
    return sum(count * bits for count, bits in counted) / total if total else None
