"""A file held against a target: the formats that its graph shows, whoever made it."""

from collections.abc import Iterator

import numpy as np

from mpq_onnx.arithmetic.quantization import SCHEMES, width_of
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.mac import macs_of
from mpq_onnx.graph.operators import DYNAMIC_DOMAIN
from mpq_onnx.graph.quantized_tensors import quantized_tensor
from mpq_onnx.graph.quantizer_chains import ActivationChain, WeightChain
from mpq_onnx.handoff_targets.bundle import Bundle
from mpq_onnx.handoff_targets.layers import LayerRow
from mpq_onnx.registries import CHANNEL, DYNAMIC, ENERGY_LEVELS, PER_CHANNEL, PER_TENSOR
from mpq_onnx.targets.conformance import (
    Fault,
    FoundActivation,
    FoundProduct,
    activation_faults,
    faults_text,
    product_faults,
)
from mpq_onnx.targets.description import FLOAT_WIDTH, PER_GROUP, Statement, Target
from mpq_onnx.targets.matching import operators_of
from mpq_onnx.targets.requirements import LOOKUP
from mpq_onnx.targets.sources import QuantizedTensor, activation_demands

ALL_SCHEMES = frozenset(SCHEMES)


def check_file(target: Target, bundle: Bundle) -> None:
    """Raise UsageError for a file that the device does not take, naming nodes, what they have, and lines.

    How biases and integers lie in the file is not looked at: that is the hand-off's to write.
    """
    faults = [
        *_product_faults(target, bundle),
        *_activation_faults(target, bundle),
        *_noise_faults(target, bundle),
    ]
    if faults:
        raise UsageError(f"{bundle.path}: target {target.name} does not take {faults_text(faults)}")


def _product_faults(target: Target, bundle: Bundle) -> Iterator[Fault]:
    operators = operators_of(bundle.model)
    chains = {str(chain.result.name): chain for chain in bundle.chains.weights}
    fed_back = {
        (str(mac.node.name), str(mac.held.name)) for mac in macs_of(bundle.model.graph) if mac.is_fed_back
    }
    granularity = target.option("granularity")
    multiplied = set()
    for row in bundle.layers:
        chain = chains.get(row.weight)
        multiplied.add(row.weight)
        found = _found(row, bundle, chain, (row.name, row.weight) in fed_back)
        yield from product_faults(target, operators.get(row.name), found)
        if granularity is not None and len(found.weight_bits) > 1 and not granularity.allows(CHANNEL):
            yield Fault(row.name, "a width per output channel", granularity)
    for name, chain in chains.items():
        if chain.is_bias:
            continue
        for node in _lookups(bundle, name) if name in multiplied else [chain.node]:  # rows of a table
            found = FoundProduct(node, _widths(bundle, chain), None, *_grid(bundle, chain))
            yield from product_faults(target, operators.get(node), found)


def _lookups(bundle: Bundle, tensor: str) -> list[str]:
    """Nodes that look up rows of a weight that is multiplied too."""
    return [
        str(node.name)
        for node in bundle.model.graph
        if node.op_type == LOOKUP and node.inputs[0] is not None and node.inputs[0].name == tensor
    ]


def _found(row: LayerRow, bundle: Bundle, chain: WeightChain | None, is_fed_back: bool) -> FoundProduct:
    widths = np.unique(np.atleast_1d(FLOAT_WIDTH if row.weight_bits is None else row.weight_bits))
    known = (ALL_SCHEMES, PER_GROUP) if chain is None else _grid(bundle, chain)
    source = None if is_fed_back else FLOAT_WIDTH if row.input_bits is None else row.input_bits
    return FoundProduct(row.name, tuple(widths.tolist()), source, *known, is_weight=row.weight_is_constant)


def _widths(bundle: Bundle, chain: WeightChain) -> tuple[float, ...]:
    return tuple(sorted({width_of(int(levels)) for levels in bundle.weight_levels(chain).tolist()}))


def _grid(bundle: Bundle, chain: WeightChain) -> tuple[frozenset[str], str]:
    """Schemes that a stored weight keeps to, and how many scales it has."""
    assert chain.integers.const_value is not None
    stored = chain.integers.const_value.numpy().astype(np.int64)
    axis = chain.axis % stored.ndim if stored.ndim else 0
    per_channel = chain.scale.size > 1
    rows = (
        np.moveaxis(stored, axis, 0).reshape(chain.scale.size, -1) if per_channel else stored.reshape(1, -1)
    )
    distances = rows - chain.zero_point.reshape(-1, 1)
    levels = bundle.weight_levels(chain).reshape(-1)
    levels = levels if levels.size in (1, len(rows)) else levels.max(keepdims=True)
    scales = PER_CHANNEL if per_channel and len(np.unique(chain.scale)) > 1 else PER_TENSOR
    return _schemes(distances.min(axis=1), distances.max(axis=1), levels), scales


def _schemes(low: np.ndarray, high: np.ndarray, levels: np.ndarray) -> frozenset[str]:
    """Those that hold integers from `low` to `high`, counted from zero, at so many levels; all [channels] or [1]."""
    middle = (low >= -(levels // 2)) & (high <= levels - 1 - levels // 2)
    narrow = (levels - 1) // 2
    unsigned = (low >= 0) & (high <= levels - 1)
    kept = {
        "asymmetric": True,
        "symmetric": middle.all(),
        "symmetric-narrow": ((low >= -narrow) & (high <= narrow)).all(),
        "symmetric-unsigned": (middle | unsigned).all(),
    }
    return frozenset(name for name in SCHEMES if kept.get(name, False))


def _activation_faults(target: Target, bundle: Bundle) -> Iterator[Fault]:
    chains = bundle.chains.activations
    tensors = [QuantizedTensor(str(chain.result.name), chain.node) for chain in chains]
    demands = activation_demands(target, bundle.model, operators_of(bundle.model), tensors)
    yield from activation_faults(
        FoundActivation(chain.node, width_of(chain.levels), demands[str(chain.result.name)])
        for chain in chains
    )
    scheme = target.option("activation_scheme")
    for chain in chains if scheme is not None else ():
        kept = _activation_schemes(chain)
        if scheme is not None and not kept & set(scheme.values):
            yield Fault(chain.node, f"an output whose scheme is {' or '.join(sorted(kept))}", scheme)
    ranges = target.option("activation_ranges")
    for node in bundle.chains.others:
        if ranges is not None and not ranges.allows(DYNAMIC) and node.domain == DYNAMIC_DOMAIN:
            yield Fault(quantized_tensor(node), "a range of each example", ranges)


def _activation_schemes(chain: ActivationChain) -> frozenset[str]:
    if chain.levels == 1:
        return ALL_SCHEMES
    zero = int(chain.zero_point.reshape(-1)[0]) - chain.ends[0]
    levels = np.array([chain.levels])
    return _schemes(np.array([-zero]), levels - 1 - zero, levels)


def _noise_faults(target: Target, bundle: Bundle) -> Iterator[Fault]:
    noise, granularity = target.analog_option("noise"), target.analog_option("granularity")
    levels = target.analog_option("energy_levels")
    for row in bundle.layers:
        for name in row.noise:
            if noise is not None and not noise.allows(name):
                yield Fault(row.name, f"{name} noise", noise)
        energies = np.unique(np.atleast_1d(() if row.energy_per_mac is None else row.energy_per_mac))
        if granularity is not None and energies.size > 1 and not granularity.allows(CHANNEL):
            yield Fault(row.name, "an energy per output channel", granularity)
        if levels is not None and energies.size and not _can_be_had(levels, energies):
            yield Fault(row.name, f"energies per MAC from {energies[0]:g} to {energies[-1]:g}", levels)


def _can_be_had(levels: Statement, energies: np.ndarray) -> bool:
    return any(ENERGY_LEVELS[name].allows(energies) for name in levels.values)
