"""Reading an allocation of either kind: a document says itself what it is."""

import json
import os

from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.document import read_json
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.errors import AllocationError

load_allocation = Allocation.load
load_energy_allocation = EnergyAllocation.load


def load_document(path: str | os.PathLike[str]) -> Allocation | EnergyAllocation:
    """Read and validate an allocation.json or an energy.json.

    Raises:
        AllocationError: missing, not JSON, neither of the two, or against the schema.
    """
    content = read_json(path, AllocationError)
    formats = {kind.KIND.format: kind for kind in (Allocation, EnergyAllocation)}
    given = (
        content.get("format", Allocation.KIND.format) if isinstance(content, dict) else Allocation.KIND.format
    )
    if given not in list(formats):
        raise AllocationError(
            f"{path}: at format: {json.dumps(given)}: choose one of {', '.join(formats)}; see"
            f" {' or '.join(kind.KIND.page for kind in formats.values())} for the format"
        )
    return formats[given].from_json(content, str(path))
