"""Results as JSON documents, for --json and result.json: dataclasses by field, infinities as text."""

import dataclasses
import json
import math
from typing import Any

from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.energy_allocation import EnergyAllocation


def to_json(result: Any) -> str:
    """One JSON object; an allocation is given by what it achieves, its nodes are in allocation.json."""
    return json.dumps(_plain(result), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Allocation):
        return {
            "method": value.settings.method,
            "budget": dict(value.budget),
            "mean_weight_bits": value.mean_weight_bits,
            "mean_activation_bits": value.mean_activation_bits,
            "weight_bytes": value.weight_bytes,
            "bit_operations": value.bit_operations,
            "settings": dataclasses.asdict(value.settings),
        }
    if isinstance(value, EnergyAllocation):
        return {
            "budget": value.budget,
            **value.achieved(),
            "settings": _plain(dataclasses.asdict(value.settings)),
        }
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
