"""The allocation: a bit width for the weights and the output of every node. Every stage passes it on.

On disk it is allocation.json (documented in docs/allocation.md).
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

from mpq_onnx.arithmetic.quantization import MAXIMUM_BITS, SCHEMES, WEIGHT_SCHEMES
from mpq_onnx.documents.constraints import (
    NotNegative,
    OneOf,
    Part,
    PositiveCount,
    Seed,
)
from mpq_onnx.documents.document import FileKind
from mpq_onnx.documents.node_precision import NodePrecision, entries_of, make_entries
from mpq_onnx.documents.precision_document import Owned, PrecisionDocument
from mpq_onnx.documents.resources import bit_operations, weight_bytes
from mpq_onnx.documents.resources.terms import ResourceFacts, spent
from mpq_onnx.documents.target_record import TargetRecord
from mpq_onnx.errors import AllocationError
from mpq_onnx.graph.metadata import METADATA_ALLOCATION
from mpq_onnx.graph.placement import Sites
from mpq_onnx.graph.placement.quantizer_ranges import weight_levels
from mpq_onnx.registries import (
    ACTIVATION_BUDGETS,
    ACTIVATION_RANGES,
    BIASES,
    EQUALIZATIONS,
    FIRST_LAST,
    GRANULARITIES,
    TARGETS,
    WEIGHT_SCALES,
    WIDTH_CHOICES,
)  # fmt: skip


@dataclass(frozen=True)
class Settings(Part):
    """Every choice beside the widths that the quantized file depends on."""

    method: str
    granularity: Annotated[str, OneOf(GRANULARITIES)]
    """How finely weight widths were chosen."""
    placement: str
    activation_observer: str
    weight_observer: str
    rounding: str
    bias_correction: bool
    seed: Seed
    sensitivity: str | None = None
    weight_scheme: Annotated[str, OneOf(WEIGHT_SCHEMES)] = "asymmetric"
    weight_scales: Annotated[str, OneOf(WEIGHT_SCALES)] = "channel"
    """How many scales a weight has."""
    activation_scheme: Annotated[str, OneOf(SCHEMES)] = "asymmetric"
    activation_ranges: Annotated[str, OneOf(ACTIVATION_RANGES)] = "static"
    """Dynamic ones are those of each example."""
    first_last: Annotated[str, OneOf(FIRST_LAST)] = "include"
    embedding_bits: Annotated[int, Interval(ge=0, le=MAXIMUM_BITS)] = 8
    bias: Annotated[str, OneOf(BIASES)] = "int32"
    variance_correction: bool = False
    equalization: Annotated[str, OneOf(EQUALIZATIONS)] = "none"
    activation_budget: Annotated[str, OneOf(ACTIVATION_BUDGETS)] = "mean"
    """mean or max: what the budget of the activations' bits is a budget of."""
    labels: Annotated[str, OneOf(TARGETS)] = "auto"
    width_choice: Annotated[str, OneOf(WIDTH_CHOICES)] = "nearest"
    learned_ranges: bool = False
    training_examples: PositiveCount | None = None
    """Examples that calibration and training were restricted to; null for all of the data."""
    rounding_examples: PositiveCount | None = None
    """Examples that weights were rounded and biases corrected on, at most; null in documents of earlier versions: 1024."""
    override: tuple[str, ...] = ()
    """Widths given for some nodes (see placement.overrides)."""
    exclude: tuple[str, ...] = ()
    """Nodes that stay float."""
    target: TargetRecord | None = None
    """The device that it was made for."""
    integer_kernels: bool = False
    """The graph is written so that onnxruntime finds its integer kernels (see passes.for_integer_kernels)."""


@dataclass(frozen=True)
class Allocation(PrecisionDocument):
    """Bit widths for a whole model."""

    KIND = FileKind("allocation", "mpq-onnx/allocation", 1, "docs/allocation.md")
    METADATA = METADATA_ALLOCATION

    model: str
    """Fingerprint (SHA-256) of the canonical float model that it was made for."""
    settings: Settings
    nodes: tuple[NodePrecision, ...]
    budget: Mapping[Annotated[str, OneOf(("weight_bits", "activation_bits"))], NotNegative]
    """Means that were asked for."""
    limits: Mapping[str, NotNegative] = field(default_factory=dict)
    """The most of resources, by their names."""

    @property
    def mean_weight_bits(self) -> float | None:
        """sum(bits * elements) / sum(elements) over the quantized weights that the budget counts; None when there are none."""
        return _weighted_mean(
            (node.mean_weight_bits, node.weight_elements) for node in self.nodes if node.weight_counted
        )

    @property
    def mean_activation_bits(self) -> float | None:
        """sum(bits * elements) / sum(elements) over the activations that the budget counts."""
        return _weighted_mean(
            (node.counted_activation_bits, node.activation_elements)
            for node in self.nodes
            if node.activation_counted
        )

    @property
    def peak_activation_bits(self) -> float | None:
        """Largest bits * elements of a counted activation over the elements of the largest: what a "max" budget bounds."""
        counted = [
            node for node in self.nodes if node.activation_counted and node.activation_bits is not None
        ]
        largest = max((node.activation_elements for node in counted), default=0)
        if not largest:
            return None
        return (
            max((node.counted_activation_bits or 0.0) * node.activation_elements for node in counted)
            / largest
        )

    @property
    def weight_bytes(self) -> int:
        """Bytes that the weights take when every one is stored at its width (32 bits where left float)."""
        return math.ceil(spent(weight_bytes.sums(ResourceFacts(self.nodes)), self.widths()))

    @property
    def bit_operations(self) -> float:
        """BOPs of one example: sum of MACs * bits of the one operand * bits of the other (32 for float), attention included."""
        return spent(bit_operations.sums(ResourceFacts(self.nodes)), self.widths())

    def widths(self) -> dict[str, float | None]:
        """Of every quantized weight and activation as it counts, by tensor name; a weight's is the mean over its channels."""
        weights = {
            node.weight: node.mean_weight_bits
            for node in self.nodes
            if node.weight is not None and node.owns_weight
        }
        return {**weights, **self.activation_bits_by_tensor()}

    def activation_bits_by_tensor(self) -> dict[str, float]:
        """Width of every quantized activation as it counts, by tensor name."""
        return {
            node.activation: bits
            for node in self.nodes
            if node.activation is not None and (bits := node.counted_activation_bits) is not None
        }

    def weight_levels(self) -> dict[str, np.ndarray]:
        """Levels by weight tensor (see placement.quantizer_ranges.weight_levels)."""
        owners = [node for node in self.nodes if node.owns_weight]
        bits = {str(node.weight): node.weight_bits for node in owners}
        own_schemes = {str(node.weight): node.weight_scheme for node in owners}
        return weight_levels(bits, self.settings.weight_scheme, own_schemes)

    def fields(self) -> dict[str, Any]:
        """What the file holds; what earlier versions do not know of stands where it is said alone."""
        found = super().fields()
        for name in ("rounding_examples", "override", "exclude", "target", "integer_kernels"):
            if not found["settings"][name]:
                del found["settings"][name]
        if not found["limits"]:
            del found["limits"]
        for entry in found["nodes"]:
            for name in ("weight_scheme", "weight_scales"):
                if entry[name] is None:
                    del entry[name]
        return found

    def achieved(self) -> dict[str, Any]:
        """What the widths come to."""
        return {
            "weight_bits": self.mean_weight_bits,
            "activation_bits": self.mean_activation_bits,
            "peak_activation_bits": self.peak_activation_bits,
            "weight_bytes": self.weight_bytes,
            "bit_operations": self.bit_operations,
        }

    def entries_of(self, sites: Sites) -> list[Owned]:
        """All in float."""
        channels = {site.tensor: site.channels for site in sites.weights}
        channels |= {each.tensor: 0 for each in sites.parameters}
        return [(entry, channels.get(entry.weight or "")) for entry in entries_of(sites)]

    def _check_entries(self, sites: Sites) -> None:
        super()._check_entries(sites)
        widths: dict[str | None, tuple[str, Any]] = {}
        for entry in self.nodes:
            if entry.weight is None:
                continue
            title, bits = widths.setdefault(entry.weight, (entry.title, entry.weight_bits))
            if bits != entry.weight_bits:
                raise AllocationError(
                    f"{entry.title}: weight_bits is {entry.weight_bits}, and {bits} in {title}: one tensor has one width"
                )

    def completed(self, sites: Sites) -> "Allocation":
        """With the entries that documents of earlier versions lack: what stays in float counts all the same."""
        known = {entry.names for entry in self.nodes}
        missing = [own for own in entries_of(sites) if own.may_be_missing and own.names not in known]
        return dataclasses.replace(self, nodes=(*self.nodes, *missing)) if missing else self


def make_allocation(
    model: str,
    settings: Settings,
    sites: Sites,
    weight_bits: Mapping[str, float | tuple[float, ...]],
    activation_bits: Mapping[str, float],
    budget: Mapping[str, float],
    range_factors: Mapping[str, float] | None = None,
    limits: Mapping[str, float] | None = None,
    quantizes: tuple[bool, bool] | None = None,
) -> Allocation:
    """Join widths by tensor name with the sites that they are for.

    Args:
        model: fingerprint of the canonical float model.
        weight_bits: width(s) by weight tensor, fixed ones excluded; a missing tensor stays float. When empty and without a
            budget, the fixed ones stay float too.
        activation_bits: width by activation tensor, fixed ones excluded; a missing tensor stays float. When empty and
            without a budget, the fixed ones stay float too (weight-only quantization).
        budget: what was asked for, by "weight_bits" and "activation_bits".
        range_factors: learned factors on ranges, by weight or activation tensor.
        limits: the most of resources that was asked for.
        quantizes: whether weights, and activations, of fixed width have it; as widths and budget say where omitted.
    """
    if quantizes is None:
        quantizes = (
            bool(weight_bits) or "weight_bits" in budget,
            bool(activation_bits) or "activation_bits" in budget,
        )
    nodes = make_entries(sites, weight_bits, activation_bits, quantizes, range_factors or {})
    return Allocation(model, settings, nodes, budget, limits or {})


def _weighted_mean(pairs: Iterator[tuple[float | None, int]]) -> float | None:
    kept = [(bits, count) for bits, count in pairs if bits is not None and count]
    total = sum(count for _, count in kept)
    return math.fsum(bits * count for bits, count in kept) / total if total else None
