"""The rules of the rooms (docs/architecture.md)."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "mpq_onnx"
ROOMS = (
    "arithmetic", "graph", "documents", "targets", "ops", "passes", "datasets", "runtime", "zoo", "equalization", "mirror",
    "rounding", "precision", "report", "handoff_targets", "simulators", "cluster", "runs",
    "commands",
)  # fmt: skip
"""Each imports from those before it alone; what stands beside them (errors, files, registries, ...) is below all."""
TORCH = frozenset({"mirror", "rounding", "precision", "runs", "zoo"})
"""Rooms that may import torch."""
NO_ONNXRUNTIME = ("arithmetic", "graph", "documents", "ops", "mirror", "rounding", "precision")
LONGEST = 400
"""Lines of a file."""


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return names


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def test_every_folder_is_a_room() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_no_import_runs_up(room: str) -> None:
    above = ROOMS[ROOMS.index(room) + 1 :]
    for path in files(room):
        for name in imported(path):
            _, _, inside = name.partition("mpq_onnx.")
            assert inside.partition(".")[0] not in above, (path, name)


@pytest.mark.parametrize("room", sorted(set(ROOMS) - TORCH))
def test_rooms_without_torch(room: str) -> None:
    for path in files(room):
        assert not {name for name in imported(path) if name.partition(".")[0] == "torch"}, path
        below = {name for name in imported(path) if name.startswith("mpq_onnx.")}
        if room != "commands":
            assert not {name for name in below if name.split(".")[1] in TORCH}, path


@pytest.mark.parametrize("room", NO_ONNXRUNTIME)
def test_rooms_without_onnxruntime(room: str) -> None:
    for path in files(room):
        assert not {name for name in imported(path) if name.partition(".")[0] == "onnxruntime"}, path
        assert not {name for name in imported(path) if name.startswith("mpq_onnx.runtime")}, path


def test_what_stands_beside_the_rooms_needs_none() -> None:
    for path in PACKAGE.glob("*.py"):
        if path.stem not in ("__init__", "__main__", "cli"):
            rooms = {name.split(".")[1] for name in imported(path) if name.startswith("mpq_onnx.")}
            assert not rooms & set(ROOMS), path


def test_files_are_short() -> None:
    long = {
        str(path): count
        for path in PACKAGE.rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST
    }
    assert not long


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


def test_dask_is_loaded_where_a_cluster_is_opened() -> None:
    """By functions, or by what they load."""
    for path in PACKAGE.rglob("*.py"):
        if path != PACKAGE / "cluster" / "workshop.py":
            statements = [each for each in ast.parse(path.read_text()).body if not isinstance(each, ast.If)]
            names = [
                alias.name for each in statements if isinstance(each, ast.Import) for alias in each.names
            ]
            names += [str(each.module) for each in statements if isinstance(each, ast.ImportFrom)]
            assert not {"dask", "distributed", "mpq_onnx.cluster.workshop"} & set(names), path


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
