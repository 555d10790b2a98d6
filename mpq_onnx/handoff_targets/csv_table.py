"""Target csv: layers.csv, the rows of layers.json; lists are written as JSON in their cell."""

import csv
import dataclasses
import io
import json
from pathlib import Path

from mpq_onnx.files import write_text
from mpq_onnx.handoff_targets.bundle import Bundle
from mpq_onnx.handoff_targets.layers import LayerRow
from mpq_onnx.handoff_targets.target import Target

TABLE_FILE = "layers.csv"


def write(bundle: Bundle, folder: Path) -> list[str]:
    """Write layers.csv."""
    table = io.StringIO()
    writer = csv.DictWriter(
        table, [field.name for field in dataclasses.fields(LayerRow)], lineterminator="\n"
    )
    writer.writeheader()
    for row in bundle.layers:
        writer.writerow(
            {
                name: json.dumps(value) if isinstance(value, tuple) else value
                for name, value in row.document().items()
            }
        )
    write_text(folder / TABLE_FILE, table.getvalue())
    return []


TARGET = Target(write)
