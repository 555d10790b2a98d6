"""Where the benchmarks find their data: ../shared/data, or where the environment says (docs/benchmarks.md)."""

import os
import sys
from pathlib import Path

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def data_folder(variable: str, name: str) -> Path:
    """The folder in environment variable `variable`, or `name` among the shared data."""
    return Path(os.environ.get(variable, SHARED / name))


def require(folder: Path, content: str) -> None:
    """End the benchmark with one line where its data is missing."""
    if not folder.is_dir():
        sys.exit(f"{folder} is missing: this benchmark needs {content} (docs/benchmarks.md)")
