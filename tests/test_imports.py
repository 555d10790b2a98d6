"""What a start loads: only what it needs, and every module by itself."""

import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mpq_onnx"
HEAVY = ("torch", "onnxscript", "scipy", "sklearn", "matplotlib", "plotly", "transformers", "torchvision")
LOADED = """
import contextlib, io, sys
from mpq_onnx.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded(*arguments: object) -> set[str]:
    """The packages that a command has loaded when it ends."""
    command = [sys.executable, "-c", LOADED, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_help_loads_nothing_that_computes() -> None:
    assert loaded("allocate", "--help").isdisjoint({*HEAVY, "numpy", "onnx", "onnxruntime", "onnx_ir"})


def test_card_loads_nothing_heavy(cnn_file: Path) -> None:
    found = loaded("card", cnn_file)
    assert "onnx_ir" in found
    assert found.isdisjoint(HEAVY)


@pytest.mark.slow
def test_every_module_imports_alone() -> None:
    script = Path(__file__).with_name("import_alone.py")
    result = subprocess.run(
        [sys.executable, script, PACKAGE], capture_output=True, text=True, check=True, timeout=600
    )
    *failed, count = result.stdout.splitlines()
    assert failed == []
    modules = {path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py"} - {
        PACKAGE / "__init__.py"
    }
    assert count == f"{len(modules)} modules"
