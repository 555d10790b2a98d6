"""The notebooks of the tutorials run as they stand."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = sorted(path.name for path in (EXAMPLES / "notebooks").glob("*.ipynb"))


def test_there_is_one_for_each_tutorial() -> None:
    assert NOTEBOOKS == ["analog.ipynb", "digital.ipynb"]
    for name in NOTEBOOKS:
        notebook = nbformat.read(EXAMPLES / "notebooks" / name, nbformat.NO_CONVERT)
        nbformat.validate(notebook)
        page = f"tutorial_{name.removesuffix('.ipynb')}.md"
        assert page in notebook.cells[0].source and (EXAMPLES.parent / "docs" / page).is_file()


@pytest.mark.slow
def test_they_run(tmp_path: Path) -> None:
    """In one folder: the network is trained once."""
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    folder = tmp_path / "examples" / "notebooks"
    for name in NOTEBOOKS:
        notebook = nbformat.read(folder / name, nbformat.NO_CONVERT)
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
        printed = "".join(
            output.get("text", "")
            for cell in notebook.cells
            for output in cell.get("outputs", ())
            if output.get("name") == "stdout"
        )
        assert printed.count("\n") > 8
