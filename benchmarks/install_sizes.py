"""How large each way to install is: clean environments are made, measured, and used once.

python benchmarks/install_sizes.py [light] [whole]   (both, where none is named; whole downloads some gigabytes)

Printed are megabytes as `du` counts them, of the whole environment (pip included): when it is installed, and after its first
`evaluate`, which compiles what it imports. Of `whole`, also what serves CUDA alone, which the CPU builds of torch and
onnxruntime leave out.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WAYS = {
    "light": (
        ("--no-compile", "--requirement", str(ROOT / "requirements-light.txt")),
        ("--no-compile", "--no-deps", "PACKAGE"),
    ),
    "whole": (("PACKAGE",),),
}
"""What pip is given, one command after the other; PACKAGE stands for a copy of this checkout."""
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
"""Variables of a shell that knows nothing of this checkout."""
OF_CUDA = (
    "nvidia",
    "triton",
    "cuda",
    "torch/lib/*cuda*",
    "torch/lib/*nvshmem*",
    "onnxruntime/capi/*cuda*",
    "onnxruntime/capi/*tensorrt*",
)
"""Below site-packages."""


def main() -> None:
    """Measure the ways that the command line names."""
    print(f"{'way':8} {'installed':>10} {'used once':>10} {'for CUDA':>10} {'seconds':>8}")
    for way in sys.argv[1:] or WAYS:
        with tempfile.TemporaryDirectory() as folder:
            print(measured(way, Path(folder)), flush=True)


def measured(way: str, folder: Path) -> str:
    """A row of the table."""
    environment, copied = folder / "environment", folder / "source"
    shutil.copytree(ROOT / "mpq_onnx", copied / "mpq_onnx", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copied)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    start = time.perf_counter()
    for arguments in WAYS[way]:
        given = [str(copied) if each == "PACKAGE" else each for each in arguments]
        pip = [environment / "bin" / "pip", "install", "--quiet", *given]
        subprocess.run(pip, check=True, env=CLEAN)
    seconds = time.perf_counter() - start
    installed = megabytes([environment])
    use(environment, folder)
    (packages,) = (environment / "lib").glob("python*/site-packages")
    cuda = megabytes(found for pattern in OF_CUDA for found in packages.glob(pattern))
    return f"{way:8} {installed:7} MB {megabytes([environment]):7} MB {cuda:7} MB {seconds:8.0f}"


def use(environment: Path, folder: Path) -> None:
    """Evaluate a small network, and show its card."""
    sys.path.insert(0, str(ROOT / "tests"))
    from conftest import make_cnn

    model = folder / "model.onnx"
    model.write_bytes(make_cnn().SerializeToString())
    command = environment / "bin" / "mpq-onnx"
    for arguments in (("evaluate", model, "--data", "random?count=8"), ("card", model)):
        subprocess.run([command, *arguments], check=True, capture_output=True, cwd=folder, env=CLEAN)


def megabytes(paths: Iterable[Path]) -> int:
    """Disk space of files and folders, in units of 2^20 bytes."""
    given = list(paths)
    if not given:
        return 0
    done = subprocess.run(["du", "-scm", *given], check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1].split()[0])


if __name__ == "__main__":
    main()
