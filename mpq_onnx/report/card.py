"""Quantization cards: all that a quantization result should state, for any file (card_text.py writes them out).

What the graph shows is read from the graph; what only its maker can know comes from the metadata that this project writes, and
is "unknown" for other files. docs/card.md explains the fields.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.noise.units import attojoules
from mpq_onnx.documents.allocation import Allocation, Settings
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.documents.precision_document import EDITED
from mpq_onnx.documents.target_record import TargetRecord
from mpq_onnx.graph.metadata import METADATA_SOURCE, METADATA_SOURCE_PRODUCER, METADATA_TASK
from mpq_onnx.graph.operators import TABLE_LOOKUPS
from mpq_onnx.graph.uncounted import UncountedMac
from mpq_onnx.passes.describe_precision import producer_of
from mpq_onnx.passes.remove_noise import without_noise
from mpq_onnx.passes.reseed_noise import noisy_nodes
from mpq_onnx.report.card_text import NONE, UNKNOWN, Card
from mpq_onnx.report.card_widths import (
    activation_bits_text,
    bits_text,
    counts_text,
    distinct,
    weight_bits_text,
)
from mpq_onnx.report.file_format import FLOAT, format_name
from mpq_onnx.report.graph_facts import COMPUTED, OWN_SCALE, GraphFacts, LayerFacts, TensorFacts, graph_facts
from mpq_onnx.report.left_out import left_out
from mpq_onnx.report.provenance import read_provenance

OWN_SCALE_BIASES = "own scale beside integer products"
COMPUTED_BIASES = "computed beside integer products"
FLOAT_BIASES = "float beside integer products"
RAISED_CHANNELS = "channels with a raised weight scale"


def make_card(model: ir.Model, size: int, where: str = "the file") -> Card:
    """The card of a model of `size` bytes.

    Args:
        where: names the file in errors.

    Raises:
        AllocationError: the metadata holds an allocation that cannot be read.
    """
    plain = without_noise(model)
    facts = graph_facts(plain, where)
    apart = left_out(plain)
    properties = model.metadata_props
    allocation, energy = Allocation.embedded(properties), EnergyAllocation.embedded(properties)
    provenance = read_provenance(model)
    card: Card = {
        "model": _model(model, size, facts, allocation),
        "weights": _weights(facts, apart, allocation, provenance.get("scaled_tensors")),
        "activations": _activations(facts, apart, allocation),
        "biases": _biases(facts, allocation),
        "method": _method(allocation),
        "budget": _budget(allocation),
    }
    if noisy_nodes(model) or energy is not None:
        card["noise"] = _noise(model, energy) | _without_noise(apart)
    card["data"] = {name: provenance.get(name) or UNKNOWN for name in ("training", "validation")}
    card["accuracy"] = _accuracy(provenance)
    card["versions"] = provenance.get("versions") or {"all": UNKNOWN}
    return card


def _model(model: ir.Model, size: int, facts: GraphFacts, allocation: Allocation | None) -> dict[str, Any]:
    properties = model.metadata_props
    return {
        "producer": ", from ".join(
            filter(None, (producer_of(model), properties.get(METADATA_SOURCE_PRODUCER)))
        )
        or UNKNOWN,
        "opset": model.opset_imports.get("", UNKNOWN),
        "bytes": size,
        "format": format_name(facts),
        "source": properties.get(METADATA_SOURCE, UNKNOWN),
        "task": properties.get(METADATA_TASK, UNKNOWN),
        "float model": allocation.model if allocation else UNKNOWN,
    }


def _weights(
    facts: GraphFacts, apart: Sequence[UncountedMac], allocation: Allocation | None, scaled: object
) -> dict[str, Any]:
    layers = [layer for layer in facts.layers if layer.constant]
    quantized = [layer for layer in layers if layer.weight is not None]
    tensors = [layer.weight for layer in quantized if layer.weight is not None]
    integers = facts.integer_weights
    float_apart = [each for each in apart if each.float_weights]
    counts = [(layer.weights, layer.weight is not None) for layer in layers]
    counts += [(each.float_weights, False) for each in apart]
    stored = [FLOAT if tensor.stored_float else tensor.container for tensor in tensors]
    settings = allocation.settings if allocation else None
    return {
        "quantized layers": f"{len(quantized) + len(integers)} of {len(layers) + len(integers) + len(float_apart)}",
        "share of weights": _share([*counts, *((each.weights, True) for each in integers)]),
        "share of MACs": UNKNOWN
        if integers
        else _mac_share(facts.layers, apart, lambda layer: layer.weight is not None),
        "bits": weight_bits_text(tensors, integers, allocation),
        "stored as": distinct([*stored, *(each.container for each in integers)]),
        "scales": distinct(tensor.scales for tensor in tensors),
        "scheme": _scheme(allocation) if allocation else distinct(tensor.scheme for tensor in tensors),
        "ranges": settings.weight_observer if settings else _unknown_if(tensors),
        "rounding": settings.rounding if settings else _unknown_if(tensors),
        "widths by": settings.granularity if settings else _unknown_if(tensors),
        "first layer": _end(layers[:1], allocation),
        "last layer": _end(layers[-1:], allocation),
        **({"overrides": ", ".join(_overrides(settings))} if settings and _overrides(settings) else {}),
        "left in float": ", ".join(
            [*(layer.node for layer in layers if layer.weight is None), *(each.node for each in float_apart)]
        )
        or "none",
        "not counted": ", ".join(map(str, apart)) or "none",
        "embedding tables": _embeddings(allocation),
        "variance correction": settings.variance_correction if settings else _unknown_if(tensors),
        "equalization": _equalization(settings.equalization, scaled) if settings else _unknown_if(tensors),
    }


def _scheme(allocation: Allocation) -> str:
    """That of the settings, or how many weights have which, where some have their own."""
    common = allocation.settings.weight_scheme
    owners = [node for node in allocation.nodes if node.owns_weight and node.weight_bits is not None]
    if all(node.weight_scheme is None for node in owners):
        return common
    return distinct(node.weight_scheme or common for node in owners)


def _overrides(settings: Settings) -> list[str]:
    """What was given for some nodes."""
    return [*settings.override, *(f"{pattern}: float" for pattern in settings.exclude)]


def _equalization(name: str, scaled: object) -> str:
    """The way, and how many tensors had their channels scaled by it, where the file says that."""
    if name == NONE or not isinstance(scaled, int):
        return name
    return (
        f"{name}: {scaled} tensor{'' if scaled == 1 else 's'} scaled"
        if scaled
        else f"{name}: nothing was scaled"
    )


def _activations(
    facts: GraphFacts, apart: Sequence[UncountedMac], allocation: Allocation | None
) -> dict[str, Any]:
    tensors = facts.activations
    settings = allocation.settings if allocation else None
    products = [layer for layer in facts.layers if not layer.constant]
    return {
        "quantizers": len(tensors),
        "share of MACs": _mac_share(facts.layers, apart, lambda layer: layer.input is not None),
        "bits": activation_bits_text(tensors, allocation),
        "computed as": distinct(tensor.container for tensor in tensors),
        "scales": distinct(tensor.scales for tensor in tensors),
        "scheme": distinct(tensor.scheme for tensor in tensors),
        "ranges": distinct(tensor.ranges for tensor in tensors),
        "observer": settings.activation_observer if settings else _unknown_if(tensors),
        "placement": settings.placement if settings else _unknown_if(tensors),
        "model inputs": _states(facts.inputs),
        "model outputs": _states(facts.outputs),
        "float into another operator": counts_text(facts.float_operators) or "none",
        "products of activations": f"{sum(bool(layer.weight and layer.input) for layer in products)} of {len(products)}",
    }


def _biases(facts: GraphFacts, allocation: Allocation | None) -> dict[str, Any]:
    raised = sum(layer.raised_channels for layer in facts.layers)
    kinds = {OWN_SCALE_BIASES: OWN_SCALE, COMPUTED_BIASES: COMPUTED, FLOAT_BIASES: FLOAT}
    products = [layer for layer in facts.layers if layer.weight and layer.input]
    return {
        "type": distinct(layer.bias for layer in facts.layers),
        **{
            name: ", ".join(layer.node for layer in products if layer.bias == kind) or NONE
            for name, kind in kinds.items()
        },
        RAISED_CHANNELS: raised,
        "correction": allocation.settings.bias_correction if allocation else UNKNOWN,
    }


def bias_notes(card: Card) -> tuple[str, ...]:
    """What a reader of a result should know of its biases, a sentence each."""
    biases = card["biases"]
    notes = []
    if biases[OWN_SCALE_BIASES] != NONE:
        notes.append(
            f"the bias at {biases[OWN_SCALE_BIASES]} has its own scale, as int32 does not hold it at that of the products:"
            " onnxruntime computes the node in float"
        )
    if (computed := biases[COMPUTED_BIASES]) != NONE:
        notes.append(
            f"the bias at {computed} is a computed activation with its own quantizer: onnxruntime computes the node in float"
        )
    if biases[FLOAT_BIASES] != NONE:
        notes.append(f"the bias stays float between quantized weights and inputs at {biases[FLOAT_BIASES]}")
    if raised := biases[RAISED_CHANNELS]:
        channels, their = ("output channel has", "its") if raised == 1 else ("output channels have", "their")
        notes.append(f"{raised} {channels} a larger weight scale, so that int32 holds {their} bias")
    return tuple(notes)


def _method(allocation: Allocation | None) -> dict[str, Any]:
    if allocation is None:
        return {"name": UNKNOWN}
    settings = allocation.settings
    return {
        "name": method_text(settings.method),
        "sensitivity": settings.sensitivity or "none",
        "labels": settings.labels,
        "width choice": settings.width_choice,
        "learned ranges": settings.learned_ranges,
        "training examples": settings.training_examples or "all",
        "seed": settings.seed,
        **_target(settings.target),
    }


def _target(record: TargetRecord | None) -> dict[str, str]:
    """The device that the file was made for."""
    return {} if record is None else {"target": f"{record.name} (sha256 {record.sha256[:12]})"}


def method_text(method: str) -> str:
    """A method's name for a reader."""
    return "edited by hand" if method == EDITED else method


def _budget(allocation: Allocation | None) -> dict[str, Any]:
    if allocation is None:
        return {"asked": UNKNOWN}
    return {
        "asked": {name.replace("_", " "): value for name, value in allocation.budget.items()},
        **_limits(allocation.limits),
        "activations' budget is of": allocation.settings.activation_budget,
        "mean weight bits": allocation.mean_weight_bits,
        "mean activation bits": allocation.mean_activation_bits,
        "peak activation bits": allocation.peak_activation_bits,
        "weight bytes at their widths": allocation.weight_bytes,
        "BOPs an example": allocation.bit_operations,
    }


def _limits(limits: Mapping[str, float]) -> dict[str, Any]:
    """The most of resources that was asked for."""
    return {"limits": dict(limits)} if limits else {}


def _noise(model: ir.Model, energy: EnergyAllocation | None) -> dict[str, Any]:
    found: dict[str, Any] = {"noisy nodes": len(noisy_nodes(model))}
    if energy is None:
        return {**found, "energy": UNKNOWN}
    settings = energy.settings
    return {
        **found,
        "noise": " + ".join(settings.noise),
        "method": method_text(settings.method),
        "energies by": settings.granularity,
        "levels": settings.energy_levels,
        "compat": settings.compat,
        "noise draws": settings.noise_draws,
        "unit": energy.unit,
        **({"asked energy per MAC": energy.budget} if not energy.limits else _limits(energy.limits)),
        "mean energy per MAC": energy.mean_energy_per_mac,
        "aJ per MAC": attojoules(energy.mean_energy_per_mac, energy.unit),
        "seed": settings.seed,
        **_target(settings.target),
    }


def _without_noise(apart: Sequence[UncountedMac]) -> dict[str, str]:
    """What a noisy file multiplies without noise, where there is such a thing."""
    return {"without noise and energy": ", ".join(map(str, apart))} if apart else {}


def _accuracy(provenance: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return _measured(provenance) or {"measured": UNKNOWN}
    except (KeyError, TypeError, AttributeError, ValueError):  # edited by hand, or another version's
        return {"measured": UNKNOWN}


def _measured(provenance: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, label in (
        ("accuracy", ""),
        ("uniform", "uniform, "),
        ("uniform_whole", "uniform whole width, "),
    ):
        evaluation = provenance.get(name)
        if not evaluation:
            continue
        for metric, estimate in evaluation["metrics"].items():
            found[f"{label}{metric}"] = _interval(estimate)
        comparison = evaluation.get("comparison") or {}
        for metric, estimate in (comparison.get("metrics") or {}).items():
            found[f"float, {metric}"] = _interval(estimate)
        if name == "accuracy":
            found["examples"] = evaluation["examples"]
            found["labels"] = evaluation["labels"]
            found["output SQNR dB"] = comparison.get("output_sqnr")
            found |= _part_figures(comparison.get("parts") or ())
    return found


def _part_figures(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How each part survives, where there are several."""
    if len(parts) < 2:
        return {}
    return {
        f"{part['part']}, {name}": part[figure]["value"]
        for part in parts
        for figure, name in (("sqnr", "SQNR dB"), ("agreement", "equal labels"))
        if part[figure] is not None
    }


def _interval(estimate: Mapping[str, Any]) -> str:
    return f"{estimate['value']:.4f} [{estimate['low']:.4f}, {estimate['high']:.4f}]"


def _end(layers: Sequence[LayerFacts], allocation: Allocation | None) -> str:
    """Name, weight width and input of the first or last layer."""
    if not layers:
        return "none"
    (layer,) = layers
    if layer.weight is None:
        return f"{layer.node}: {FLOAT}"
    bits = bits_text(layer.weight)
    for node in allocation.nodes if allocation else ():
        is_this = node.node == layer.node and node.weight == layer.weight_tensor
        if is_this and node.weight_bits is not None:
            bits = f"{float(np.mean(node.weight_bits)):.3g}"
    return f"{layer.node}: {bits} bits, input {'quantized' if layer.input else FLOAT}"


def _embeddings(allocation: Allocation | None) -> str:
    if allocation is None:
        return UNKNOWN
    tables = [
        node
        for node in allocation.nodes
        if node.weight is not None and not node.macs and node.op_type in TABLE_LOOKUPS
    ]
    if not tables:
        return "none"
    return distinct(
        FLOAT if node.weight_bits is None else f"{node.mean_weight_bits:g} bits" for node in tables
    )


def _share(parts: Iterable[tuple[int, bool]]) -> float | str:
    pairs = list(parts)
    total = sum(count for count, _ in pairs)
    return sum(count for count, counted in pairs if counted) / total if total else UNKNOWN


def _mac_share(layers: Sequence[LayerFacts], apart: Sequence[UncountedMac], counts: Any) -> float | str:
    """What is multiplied apart is none of the share, and all of the whole."""
    counted = [each.macs for each in layers] + [each.macs for each in apart]
    if not layers or None in counted:
        return UNKNOWN
    pairs = [(layer.macs or 0, counts(layer)) for layer in layers]
    return _share([*pairs, *((each.macs or 0, False) for each in apart)])


def _states(quantized: Mapping[str, bool]) -> str:
    return (
        ", ".join(f"{name}: {'quantized' if yes else FLOAT}" for name, yes in quantized.items())
        or "no float ones"
    )


def _unknown_if(tensors: Sequence[TensorFacts]) -> str:
    """What only the maker knows; nothing to know where nothing is quantized."""
    return UNKNOWN if tensors else "none"
