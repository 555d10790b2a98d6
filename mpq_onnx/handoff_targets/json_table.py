"""Target json: layers.json, a row a multiply-accumulate node (docs/handoff.md)."""

from pathlib import Path

import mpq_onnx
from mpq_onnx.handoff_targets.bundle import Bundle
from mpq_onnx.handoff_targets.layers import LayerTable
from mpq_onnx.handoff_targets.target import Target

TABLE_FILE = "layers.json"


def write(bundle: Bundle, folder: Path) -> list[str]:
    """Write layers.json."""
    table = LayerTable(
        writer=f"mpq-onnx {mpq_onnx.__version__}",
        model=Path(bundle.path).name,
        macs=sum(row.macs for row in bundle.layers),
        layers=bundle.layers,
    )
    table.save(folder / TABLE_FILE)
    return []


TARGET = Target(write)
