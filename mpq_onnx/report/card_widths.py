"""What a card says of widths, in words: those of an allocation, else those of the types in the file."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.report.card_text import UNKNOWN
from mpq_onnx.report.file_format import FLOAT
from mpq_onnx.report.graph_facts import TensorFacts
from mpq_onnx.report.integer_weights import IntegerWeight


def weight_bits_text(
    tensors: Sequence[TensorFacts], integers: Sequence[IntegerWeight], allocation: Allocation | None
) -> str:
    """Of the weights that are read back, and of those that operators hold as integers."""
    if not tensors and not integers:
        return FLOAT
    if allocation is None:
        return distinct([*map(bits_text, tensors), *(str(each.bits) for each in integers)])
    return _spread(
        [
            float(width)
            for node in allocation.nodes
            if node.weight_bits is not None and node.macs
            for width in np.atleast_1d(node.weight_bits)
        ]
    )


def activation_bits_text(tensors: Sequence[TensorFacts], allocation: Allocation | None) -> str:
    """Of the quantizers of activations."""
    if not tensors:
        return FLOAT
    widths = [bits for tensor in tensors if (bits := tensor.bits) is not None]
    if allocation is not None:
        widths = [
            float(node.activation_bits) for node in allocation.nodes if node.activation_bits is not None
        ]
    return _spread(widths) if widths else UNKNOWN


def bits_text(tensor: TensorFacts) -> str:
    """The width of a stored tensor, as the graph shows it."""
    return UNKNOWN if tensor.bits is None else f"{tensor.bits:.3g}"


def distinct(names: Iterable[str]) -> str:
    """The names that occur, with their counts where there are several."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    if len(counts) == 1:
        return next(iter(counts))
    return counts_text(counts) or "none"


def counts_text(counts: Mapping[str, int]) -> str:
    """How often each occurs."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _spread(widths: Sequence[float]) -> str:
    low, high = min(widths), max(widths)
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
