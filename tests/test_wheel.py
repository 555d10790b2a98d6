"""What people install: the wheel is whole, and the light way works in an environment that has nothing else."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mpq_onnx"
MEBIBYTE = 2**20
MOST_LIGHT = 400
"""MiB that a light environment may take."""
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
"""Variables of a shell that knows nothing of this checkout."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by setuptools from a copy: it writes beside its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    copied = folder / "source"
    shutil.copytree(PACKAGE, copied / "mpq_onnx", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copied)
    build = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", build, folder]
    done = subprocess.run(command, cwd=copied, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.splitlines()[-1]


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("mpq_onnx/")}
        (entry,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "mpq-onnx = mpq_onnx.cli:main" in archive.read(entry).decode()
        assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())
    sources = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == sources
    assert {Path(name).suffix for name in sources} >= {".py", ".typed", ".yaml"}


@pytest.mark.slow
def test_the_light_way_in_a_clean_environment(wheel: Path, cnn_file: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    binaries = environment / "bin"
    for arguments in (("--requirement", ROOT / "requirements-light.txt"), ("--no-deps", wheel)):
        install = [binaries / "pip", "install", "--quiet", "--no-compile", *arguments]
        subprocess.run(install, check=True, timeout=900, env=CLEAN)

    def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess:
        command = [binaries / "mpq-onnx", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=CLEAN, check=False)
        assert done.returncode == code, done.stderr
        return done

    data = ("--data", "random?count=8")
    run("export", cnn_file, "-o", "float.onnx")
    run("evaluate", "float.onnx", *data)
    run("compare", "float.onnx", cnn_file, *data)
    run("handoff", "float.onnx", "--to", "json", "-o", "handed")
    assert "onnxruntime-cpu" in run("targets").stdout
    assert "opset" in run("card", "float.onnx").stdout
    refused = run("allocate", "float.onnx", *data, "--weight-bits", 3, "-o", "out", code=2)
    assert "pip install torch" in refused.stderr and "Traceback" not in refused.stderr
    size = sum(path.lstat().st_blocks * 512 for path in environment.rglob("*"))
    assert size < MOST_LIGHT * MEBIBYTE
