"""The table that simulators read: a row for every multiply-accumulate node, with its geometry, widths and noise."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.noise.model import PHOTONS, RELATIVE
from mpq_onnx.arithmetic.quantization import width_of
from mpq_onnx.documents.constraints import Count, NotNegatives, OneOf, Part, PositiveCount
from mpq_onnx.documents.document import Document, FileKind
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.errors import ModelError
from mpq_onnx.graph.mac import is_stored, macs_of_node
from mpq_onnx.graph.operators import MAC_OPS
from mpq_onnx.graph.placement.mac_sites import MacSite
from mpq_onnx.graph.placement.sites import Shapes
from mpq_onnx.passes.explicit_windows import CONVOLUTIONS, window_attributes
from mpq_onnx.registries import NOISE_MODELS
from mpq_onnx.report.graph_facts import LayerFacts
from mpq_onnx.runtime.noise_ratios import NodeSignalToNoise

Lengths = tuple[Count, ...]


@dataclass(frozen=True)
class LayerRow(Part):
    """One multiply-accumulate. Documented in docs/handoff.md; None where something does not apply or is not known."""

    name: str
    op: Annotated[str, OneOf(MAC_OPS)]
    weight: str
    """Name of the operand that is held: a recurrent layer has two, and a row for each."""
    input_shape: Lengths
    """Of the operand that streams, for one example."""
    weight_shape: Lengths
    """Of the operand that is held."""
    output_shape: Lengths
    weight_is_constant: bool
    """False for a product of two activations."""
    groups: PositiveCount
    kernel_shape: Lengths | None
    strides: Lengths | None
    pads: Lengths | None
    dilations: Lengths | None
    fan_in: Count
    """D: products summed up in one output."""
    macs: Count
    """For one example."""
    parameters: Count
    """Elements of weight and bias."""
    weight_bits: NotNegatives | None
    """One per output channel where they differ; None: float."""
    input_bits: float | None
    output_bits: float | None
    energy_per_mac: NotNegatives | None
    energy_unit: Annotated[str, OneOf((PHOTONS, RELATIVE))] | None
    noise: tuple[Annotated[str, OneOf(NOISE_MODELS)], ...]
    """Names of the noise models that act on the node."""
    sigma: float | None
    """Measured root mean square of the node's noise at its output."""
    weight_range: NotNegatives | None
    """R_w: largest minus smallest real value of the weight's quantizer."""
    input_range: float | None
    """R_x: the same of the input's."""
    snr: float | None
    """Measured, in decibels, of the node's output over its own noise."""
    noise_equivalent_bits: float | None

    def document(self) -> dict[str, object]:
        """As JSON holds it."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class LayerTable(Document):
    """The rows of a file."""

    KIND = FileKind("layers", "mpq-onnx/layers", 1, "docs/handoff.md")

    writer: str
    model: str
    """Name of the file."""
    macs: Count
    """Of one example, all layers."""
    layers: tuple[LayerRow, ...]


def layer_rows(
    model: ir.Model,
    sites: tuple[MacSite, ...],
    facts: tuple[LayerFacts, ...],
    shapes: Shapes,
    stored_levels: Mapping[str, np.ndarray],
    energy: EnergyAllocation | None,
    ratios: Mapping[str, NodeSignalToNoise],
) -> tuple[LayerRow, ...]:
    """The rows in graph order.

    Args:
        model: noise-free.
        facts: of the same multiply-accumulates as `sites`.
        stored_levels: see quantizer_ranges.weight_levels.
        energy: of the noisy file.
        ratios: measured noise by node; empty where nothing was measured.
    """
    nodes = {str(node.name): node for node in model.graph}
    energies = {} if energy is None else {each.node: each.energy_per_mac for each in energy.nodes}
    return tuple(
        _row(
            site,
            nodes[site.node],
            layer,
            shapes,
            stored_levels,
            energies.get(site.node),
            energy,
            ratios.get(site.node),
        )
        for site, layer in zip(sites, facts, strict=True)
    )


def check_numbers(rows: tuple[LayerRow, ...]) -> None:
    """Raise ModelError, naming node and field, for a row with NaN or an infinity."""
    for row in rows:
        for name, value in row.document().items():
            numbers = value if isinstance(value, tuple) else (value,)
            if any(isinstance(each, float) and not math.isfinite(each) for each in numbers):
                raise ModelError(
                    f"node {row.name}: {name} is no number; a scale or an energy in the file is broken: make the file again"
                )


def _row(
    site: MacSite,
    node: ir.Node,
    facts: LayerFacts,
    shapes: Shapes,
    stored_levels: Mapping[str, np.ndarray],
    energy_per_mac: float | tuple[float, ...] | None,
    energy: EnergyAllocation | None,
    measured: NodeSignalToNoise | None,
) -> LayerRow:
    mac = next(each for each in macs_of_node(node) if each.held.name == site.weight)
    x, w = mac.data, mac.held
    weight_shape = _shape(w, shapes)
    spatial = window_attributes(node, weight_shape[2:]) if node.op_type in CONVOLUTIONS else {}
    parameters = sum(
        math.prod(_shape(value, shapes)) for value in (w, mac.bias) if value is not None and is_stored(value)
    )
    return LayerRow(
        name=site.node,
        op=site.op_type,
        weight=site.weight,
        input_shape=_shape(x, shapes),
        weight_shape=weight_shape,
        output_shape=_shape(mac.output, shapes),
        weight_is_constant=is_stored(w),
        groups=node.attributes.get_int("group", 1),
        kernel_shape=spatial.get("kernel_shape"),
        strides=spatial.get("strides"),
        pads=spatial.get("pads"),
        dilations=spatial.get("dilations"),
        fan_in=site.fan_in,
        macs=site.macs,
        parameters=parameters,
        weight_bits=_weight_bits(facts, stored_levels),
        input_bits=_input_bits(facts, stored_levels),
        output_bits=_bits(facts.output.levels if facts.output is not None else None),
        energy_per_mac=energy_per_mac,
        energy_unit=energy.unit if energy is not None and energy_per_mac is not None else None,
        noise=energy.settings.noise if energy is not None and energy_per_mac is not None else (),
        sigma=measured.noise_deviation if measured is not None else None,
        weight_range=_plain(site.weight_range),
        input_range=site.input_range,
        snr=_finite(measured.snr) if measured is not None else None,
        noise_equivalent_bits=_finite(measured.noise_equivalent_bits) if measured is not None else None,
    )


def _shape(value: ir.Value, shapes: Shapes) -> tuple[int, ...]:
    if value.const_value is not None:
        return tuple(value.const_value.shape.numpy())
    return tuple(shapes[str(value.name)])


def _weight_bits(
    facts: LayerFacts, stored_levels: Mapping[str, np.ndarray]
) -> float | tuple[float, ...] | None:
    """As the allocation says, else those of the quantizer, or of the type."""
    if facts.weight is None:
        return None
    if not facts.constant:
        return _bits(facts.weight.levels)
    known = stored_levels.get(facts.weight_tensor)
    if known is None:
        return facts.weight.bits
    bits = tuple(width_of(int(levels)) for levels in known.tolist())
    return bits[0] if len(set(bits)) == 1 else bits


def _input_bits(facts: LayerFacts, stored_levels: Mapping[str, np.ndarray]) -> float | None:
    """Those of its quantizer; of rows that are looked up, the table's widest."""
    rows = None if facts.table is None else stored_levels.get(facts.table)
    if rows is not None:
        return width_of(int(rows.max()))
    return None if facts.input is None else facts.input.bits


def _bits(levels: int | None) -> float | None:
    return None if levels is None else width_of(levels)


def _plain(values: tuple[float, ...] | None) -> float | tuple[float, ...] | None:
    return values[0] if values is not None and len(set(values)) == 1 else values


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
