"""The architecture's import rules."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mpq_onnx"
RULES = {
    "passes": "torch", "runtime": "torch", "storage": "torch", "observers": "torch", "datasets": "torch",
    "placement": "torch", "report": "torch", "mirror": "onnxruntime", "precision": "onnxruntime", "rounding": "onnxruntime",
    "noise": "torch", "ops": "torch", "handoff_targets": "torch",
    "graph": "torch", "documents": "torch",
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
            "mpq_onnx.precision",
            "mpq_onnx.rounding",
        }
    for path in (PACKAGE / folder).rglob("*.py"):
        for name in imported(path):
            assert not any(name == each or name.startswith(f"{each}.") for each in forbidden), (path, name)


def test_facts_need_nothing_that_is_made_of_them() -> None:
    for path in (PACKAGE / "graph").rglob("*.py"):
        assert not [
            name for name in imported(path) if name.startswith(("mpq_onnx.placement", "mpq_onnx.report"))
        ]


def loaded_first(path: Path) -> set[str]:
    """The modules of the package that must be there before the one at `path` is: what it imports outside functions.

    A package's own __init__ counts for whoever is not inside it.
    """
    module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    statements = list(ast.parse(path.read_text()).body)
    while statements:
        statement = statements.pop()
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            names = [
                str(statement.module),
                *(f"{statement.module}.{alias.name}" for alias in statement.names),
            ]
        else:
            if isinstance(statement, ast.If) and "TYPE_CHECKING" not in ast.dump(statement.test):
                statements += [*statement.body, *statement.orelse]
            continue
        for name in names:
            while name.startswith("mpq_onnx."):
                if not f"{inside}.".startswith(f"{name}."):
                    found.add(name)
                name = name.rpartition(".")[0]
    return found


def test_no_import_runs_in_a_circle() -> None:
    """So that every module can be imported first: what test_imports tries out, slowly."""
    needed = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): loaded_first(path)
        for path in PACKAGE.rglob("*.py")
    }
    graph = {name: needs & needed.keys() for name, needs in needed.items()}
    assert len(graph) > 300
    assert len(list(TopologicalSorter(graph).static_order())) == len(
        graph
    )  # CycleError names the modules of a circle
