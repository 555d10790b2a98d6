"""The entries of an allocation: the precision of one node each, and those that a model has."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from mpq_onnx.arithmetic.quantization import WEIGHT_SCHEMES, counted_bits
from mpq_onnx.documents.constraints import ActivationBits, Count, OneOf, Positive, WeightWidths
from mpq_onnx.documents.precision_document import Entry, Names
from mpq_onnx.graph.placement import Sites, WeightSite
from mpq_onnx.registries import WEIGHT_SCALES


@dataclass(frozen=True)
class NodePrecision(Entry):
    """The precision of one node: its weights, its output, or both."""

    FACTS = (
        "input", "other_input", "macs", "weight_elements", "weight_counted", "activation_elements", "activation_counted"
    )  # fmt: skip
    BY_CHANNEL = ("weight_bits", "widths")

    weight: str | None = None
    """Name of the weight tensor."""
    weight_bits: WeightWidths | None = None
    """One width for the whole tensor, or one per output channel; null leaves the weights in float."""
    weight_elements: Count = 0
    """0 for a weight that an earlier node has an entry for: it is stored, and counted, once."""
    macs: Count = 0
    """Multiply-accumulates for one example."""
    input: str | None = None
    """Name of the quantized activation that the weights are multiplied with."""
    activation: str | None = None
    """Name of the output tensor."""
    activation_bits: ActivationBits | None = None
    """Null leaves the output in float."""
    activation_elements: Count = 0
    """Elements of the output for one example."""
    activation_counted: bool = True
    """False for model inputs, whose width is fixed and outside the budget."""
    weight_counted: bool = True
    """The same for embedding tables, and for first and last layers of fixed width."""
    weight_range: Positive = 1.0
    """Learned factor on the range that the observer found."""
    activation_range: Positive = 1.0
    """The same for the output."""
    other_input: str | None = None
    """Of a product of two activations: the quantized one that is held."""
    weight_scheme: Annotated[str, OneOf(WEIGHT_SCHEMES)] | None = None
    """Of its own, where it is not that of the settings."""
    weight_scales: Annotated[str, OneOf(WEIGHT_SCALES)] | None = None
    """The same."""

    @property
    def names(self) -> Names:
        """Of the node, its weight and its output."""
        return ("node", self.node), ("weight", self.weight), ("output", self.activation)

    def misplaced(self) -> str | None:
        """A width of a weight or an output that is none of the node's."""
        for what, name, bits in (
            ("weight", self.weight, self.weight_bits),
            ("activation", self.activation, self.activation_bits),
        ):
            if name is None and bits is not None:
                return f"{what}_bits is given, and the entry has no {what}; give it to the entry that has"
        return None

    @property
    def owns_weight(self) -> bool:
        """The entry that the width of a weight is taken from, if several nodes share it."""
        return self.weight is not None and self.weight_elements > 0

    @property
    def may_be_missing(self) -> bool:
        """Parameters beside weights stay in float, and so do tables that earlier versions did not take for such."""
        return self.weight is not None and not self.macs and not self.weight_counted

    @property
    def held(self) -> str | None:
        """Name of the operand that a multiply-accumulate holds: its weight, or of two activations the second."""
        return self.other_input if self.weight is None else self.weight

    @property
    def mean_weight_bits(self) -> float | None:
        """Mean over the channels, which all have the same number of elements; each width counts log2 of its levels."""
        if self.weight_bits is None:
            return None
        return float(np.mean([counted_bits(width) for width in np.atleast_1d(self.weight_bits)]))

    @property
    def counted_activation_bits(self) -> float | None:
        """log2 of the levels of the output's quantizer."""
        return None if self.activation_bits is None else counted_bits(self.activation_bits)


def entries_of(sites: Sites) -> tuple[NodePrecision, ...]:
    """One a node, or a weight of it, in graph order; all in float."""
    return make_entries(sites, {}, {}, (False, False), {})


def make_entries(
    sites: Sites,
    weight_bits: Mapping[str, float | tuple[float, ...]],
    activation_bits: Mapping[str, float],
    fixes: tuple[bool, bool],
    factors: Mapping[str, float],
) -> tuple[NodePrecision, ...]:
    """See make_allocation; `fixes`: whether weights, and activations, of fixed width have it."""
    fixes_weights, fixes_activations = fixes
    entries = [
        entry
        for site in sites.weights
        for entry in _weight_entries(
            site, _weight_width(site, weight_bits, fixes_weights), factors.get(site.tensor, 1.0)
        )
    ]
    entries += [
        NodePrecision(
            node=product.node,
            op_type=product.op_type,
            macs=product.macs,
            input=product.sources[0],
            other_input=product.sources[1],
        )
        for product in sites.products
    ]
    first = {entry.node: index for index, entry in reversed(list(enumerate(entries)))}
    for site in sites.activations:
        bits = activation_bits.get(site.tensor)
        if site.fixed_bits is not None and fixes_activations:
            bits = site.fixed_bits
        own: dict[str, Any] = {
            "activation": site.tensor,
            "activation_bits": bits,
            "activation_elements": site.elements,
            "activation_counted": site.fixed_bits is None,
            "activation_range": factors.get(site.tensor, 1.0),
        }
        index = first.get(site.node)
        if index is not None and entries[index].activation is None:
            entries[index] = dataclasses.replace(entries[index], **own)
        else:  # a node without weights, or with several outputs, such as Split of a fresh tensor or TopK
            first.setdefault(site.node, len(entries))
            entries.append(NodePrecision(node=site.node, op_type=site.op_type, **own))
    entries += [
        NodePrecision(
            node=each.node,
            op_type=each.op_type,
            weight=each.tensor,
            weight_elements=each.elements,
            weight_counted=False,
        )
        for each in sites.parameters
    ]
    position = {name: index for index, name in enumerate(sites.order)}
    return tuple(sorted(entries, key=lambda entry: position.get(entry.node, len(position))))


def _weight_entries(
    site: WeightSite, bits: float | tuple[float, ...] | None, range_factor: float
) -> list[NodePrecision]:
    """An entry for every node that reads the weight; its elements count in the first."""
    return [
        NodePrecision(
            node=use.node,
            op_type=use.op_type,
            weight=site.tensor,
            weight_bits=bits,
            weight_elements=0 if index else site.elements,
            weight_counted=site.fixed_bits is None,
            weight_range=range_factor,
            macs=use.macs,
            input=use.source,
            weight_scheme=None if bits is None else site.scheme,
            weight_scales=None if bits is None else site.scales,
        )
        for index, use in enumerate(site.uses)
    ]


def _weight_width(
    site: WeightSite, weight_bits: Mapping[str, float | tuple[float, ...]], fixes: bool
) -> float | tuple[float, ...] | None:
    """The width(s) of one weight; None for float."""
    if site.fixed_bits is None:
        return weight_bits.get(site.tensor)
    return float(site.fixed_bits) if fixes and site.fixed_bits else None
