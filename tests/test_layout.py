"""The architecture's import rules."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mpq_onnx"
RULES = {
    "passes": "torch", "runtime": "torch", "storage": "torch", "observers": "torch", "datasets": "torch",
    "placement": "torch", "report": "torch", "mirror": "onnxruntime", "allocators": "onnxruntime", "rounding": "onnxruntime",
    "energy_allocators": "onnxruntime", "noise": "torch", "ops": "torch", "handoff_targets": "torch",
}  # fmt: skip


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return names


@pytest.mark.parametrize("folder", RULES)
def test_folders_stay_free_of_what_they_must_not_need(folder: str) -> None:
    forbidden = {RULES[folder]}
    if RULES[folder] == "torch":
        forbidden |= {
            "mpq_onnx.mirror",
            "mpq_onnx.allocators",
            "mpq_onnx.energy_allocators",
            "mpq_onnx.rounding",
        }
    for path in (PACKAGE / folder).rglob("*.py"):
        for name in imported(path):
            assert not any(name == each or name.startswith(f"{each}.") for each in forbidden), (path, name)
