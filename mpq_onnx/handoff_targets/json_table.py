"""Target json: layers.json, a row a multiply-accumulate node (docs/handoff.md; schema handoff.schema.json)."""

import json
from pathlib import Path

import mpq_onnx
from mpq_onnx.files import write_text
from mpq_onnx.handoff_targets.bundle import Bundle
from mpq_onnx.handoff_targets.layers import FORMAT, VERSION

TABLE_FILE = "layers.json"


def write(bundle: Bundle, folder: Path) -> list[str]:
    """Write layers.json."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "writer": f"mpq-onnx {mpq_onnx.__version__}",
        "model": Path(bundle.path).name,
        "macs": sum(row.macs for row in bundle.layers),
        "layers": [row.document() for row in bundle.layers],
    }
    write_text(folder / TABLE_FILE, json.dumps(document, indent=1, allow_nan=False) + "\n")
    return []
