"""Does a device take it? What was found of an allocation, or of a file, held against the lines of a target."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpq_onnx.arithmetic.quantization import SCHEMES
from mpq_onnx.arithmetic.weights import TABLE_RULES
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.node_precision import NodePrecision
from mpq_onnx.errors import first_names
from mpq_onnx.graph.placement.sites import Sites
from mpq_onnx.registries import PER_CHANNEL
from mpq_onnx.targets.description import FLOAT, FLOAT_WIDTH, Statement, Target, listed
from mpq_onnx.targets.matching import Demand, Operator, statement
from mpq_onnx.targets.requirements import Requirements, goes

MOST_NAMED = 4


@dataclass(frozen=True)
class FoundProduct:
    """A multiply-accumulate, or an embedding table, as it is."""

    node: str
    weight_bits: tuple[float, ...]
    """Those of the channels, each once; FLOAT_WIDTH for float."""
    input_bits: float | None
    """Of the operand that streams; None for a table's rows, and where that is not known."""
    schemes: frozenset[str] = frozenset(SCHEMES)
    """Schemes that the weight keeps to; all where it is in float or no constant."""
    scales: str | None = None
    """How many scales the weight has; None where that does not matter."""
    is_weight: bool = True
    """False for a product of two activations."""


@dataclass(frozen=True)
class FoundActivation:
    """An activation as it is."""

    node: str
    bits: float
    demand: Demand
    """What those who write and read it take."""


@dataclass(frozen=True)
class Fault:
    """What a device does not take."""

    node: str
    found: str
    said: Statement
    """The line that forbids it."""


def product_faults(target: Target, operator: Operator | None, found: FoundProduct) -> Iterator[Fault]:
    """All that is wrong with one multiply-accumulate."""
    if found.is_weight:
        bits = statement(target, operator, "weights", "bits")
        for width in found.weight_bits if bits is not None else ():
            if not bits.allows(width):  # type: ignore[union-attr]
                yield Fault(found.node, f"a weight of {_width(width)}", bits)  # type: ignore[arg-type]
        yield from _grid_faults(target, operator, found)
    inputs = statement(target, operator, "inputs", "bits")
    if inputs is not None and found.input_bits is not None and not inputs.allows(found.input_bits):
        yield Fault(found.node, f"an input of {_width(found.input_bits)}", inputs)
    pairs = statement(target, operator, "pairs")
    if pairs is None or found.input_bits is None:
        return
    for width in found.weight_bits:
        if not goes(pairs.values, width, found.input_bits):
            yield Fault(found.node, listed(((width, found.input_bits),)), pairs)


def _grid_faults(target: Target, operator: Operator | None, found: FoundProduct) -> Iterator[Fault]:
    if all(map(math.isinf, found.weight_bits)):
        return
    scheme = statement(target, operator, "weights", "scheme")
    if scheme is not None and not found.schemes & set(scheme.values):
        yield Fault(found.node, f"a weight whose scheme is {' or '.join(sorted(found.schemes))}", scheme)
    scales = statement(target, operator, "weights", "scales")
    if scales is not None and found.scales is not None and not scales.allows(found.scales):
        takes_finer = found.scales != PER_CHANNEL and PER_CHANNEL in scales.values  # equal scales are scales
        if not takes_finer:
            yield Fault(found.node, f"a scale a {found.scales} of its weight", scales)


def activation_faults(activations: Iterable[FoundActivation]) -> Iterator[Fault]:
    """All that is wrong with the quantizers of activations."""
    for each in activations:
        refusal = each.demand.refusal(each.bits)
        if refusal is not None:
            yield Fault(each.node, f"an output of {_width(each.bits)}", refusal[1])


def allocation_faults(required: Requirements, sites: Sites, allocation: Allocation) -> list[Fault]:
    """What the device does not take of an allocation for the model with these sites."""
    bits = {str(node.activation): _bits(node.activation_bits) for node in allocation.nodes if node.activation}
    stay_float = {site.node for site in sites.products if site.float_weight is not None}
    fed_back = {(use.node, site.tensor) for site in sites.weights for use in site.uses if use.is_fed_back}
    faults: list[Fault] = []
    parameters = {(each.node, each.tensor) for each in sites.parameters}
    for node in allocation.nodes:
        found = None if (node.node, node.weight) in parameters else _found(node, allocation, bits)
        if found is not None:
            if node.node in stay_float:
                found = replace(found, is_weight=True)
            if (node.node, node.weight) in fed_back:
                found = replace(found, input_bits=None)
            faults += product_faults(required.target, required.operators.get(node.node), found)
    widths = {node.weight: node for node in allocation.nodes if node.owns_weight}
    for site in sites.weights:  # a table that is multiplied too has an entry where it is multiplied
        lookups = () if site.is_table else required.lookups.get(site.tensor, ())
        rows = _found(widths[site.tensor], allocation, bits) if site.tensor in widths else None
        for lookup in lookups:
            if rows is not None:
                found = replace(rows, node=lookup, input_bits=None)
                faults += product_faults(required.target, required.operators.get(lookup), found)
    demands = required.activation_demands(sites)
    faults += activation_faults(
        FoundActivation(site.node, bits.get(site.tensor, FLOAT_WIDTH), demands[site.tensor])
        for site in sites.activations
    )
    return faults


def _found(node: NodePrecision, allocation: Allocation, bits: dict[str, float]) -> FoundProduct | None:
    source = bits.get(node.input or "", FLOAT_WIDTH)
    if node.weight is None:
        if not node.macs:
            return None
        held = bits.get(node.other_input or "", FLOAT_WIDTH)
        return FoundProduct(node.node, (held,), source, is_weight=False)
    settings, is_table = allocation.settings, not node.macs
    widths = (
        (FLOAT_WIDTH,)
        if node.weight_bits is None
        else tuple(np.unique(np.atleast_1d(node.weight_bits)).tolist())
    )
    return FoundProduct(
        node.node,
        widths,
        None if is_table else source,
        schemes_within(node.weight_scheme or (TABLE_RULES.scheme if is_table else settings.weight_scheme)),
        node.weight_scales or (TABLE_RULES.scales if is_table else settings.weight_scales),
    )


def schemes_within(scheme: str) -> frozenset[str]:
    """Schemes that a weight of one scheme keeps to: zero in the middle is a zero that may stand anywhere."""
    wider = {
        "symmetric": ("symmetric", "symmetric-unsigned", "asymmetric"),
        "symmetric-narrow": ("symmetric-narrow", "symmetric", "symmetric-unsigned", "asymmetric"),
        "symmetric-unsigned": ("symmetric-unsigned", "asymmetric"),
        "int8": ("int8", "asymmetric"),
    }
    return frozenset(wider.get(scheme, (scheme,)))


def faults_text(faults: Sequence[Fault]) -> str:
    """The faults in one line, by what was found and the line that forbids it."""
    nodes: dict[tuple[str, str], list[str]] = {}
    for each in faults:
        nodes.setdefault((each.found, str(each.said)), []).append(each.node)
    return "; ".join(f"{found} at {_named(at)} ({line})" for (found, line), at in nodes.items())


def _named(nodes: list[str]) -> str:
    return f"{'node' if len(nodes) == 1 else 'nodes'} {first_names(nodes, MOST_NAMED)}"


def _bits(width: float | None) -> float:
    return FLOAT_WIDTH if width is None else float(width)


def _width(width: float) -> str:
    return FLOAT if math.isinf(width) else f"{width:.4g} bits"
