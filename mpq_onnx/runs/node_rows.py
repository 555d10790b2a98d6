"""The nodes of an allocation as rows of a result's table."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.energy_allocation import EnergyAllocation


def width_rows(allocation: Allocation, noises: Iterable[Any] = ()) -> list[dict[str, Any]]:
    """Widths by node; `noises` have the SQNR of what nodes make, by tensor (see runtime.comparison.NodeNoise)."""
    by_tensor = {each.tensor: each.sqnr for each in noises}
    found = []
    for node in allocation.nodes:
        row = {
            "node": node.node,
            "op_type": node.op_type,
            "weight_bits": _mean(node.weight_bits),
            "activation_bits": node.activation_bits,
            "weights": node.weight_elements,
            "macs": node.macs,
        }
        found.append({**row, "sqnr": by_tensor.get(node.activation or "")} if by_tensor else row)
    return found


def energy_rows(allocation: EnergyAllocation, ratios: Iterable[Any] = ()) -> list[dict[str, Any]]:
    """Energies by node; `ratios` have their signal to noise (see runtime.noise_ratios.NodeSignalToNoise)."""
    by_node = {each.node: each.snr for each in ratios}
    found = []
    for node in allocation.nodes:
        row = {
            "node": node.node,
            "op_type": node.op_type,
            "energy_per_mac": _mean(node.energy_per_mac),
            "macs": node.macs,
        }
        found.append({**row, "snr": by_node.get(node.node)} if by_node else row)
    return found


def _mean(value: Any) -> float | None:
    return None if value is None else float(np.mean(value))
