"""Runs in AccelForge's new environment: builds those of its programs that do not run here.

CACTI and NeuroSim come as programs that need a newer C library than many systems have; their sources come along.
"""

import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path


def main() -> None:
    cacti = package("hwcomponents_cacti") / "cacti"
    if not runs(cacti / "cacti"):
        # Everything anew: objects of the machine where the package was made lie beside the sources.
        make(cacti, "-B", "opt")
    neurosim = package("hwcomponents_neurosim")
    if not runs(neurosim / "NeuroSim" / "main"):
        with tempfile.TemporaryDirectory() as folder:
            sources = Path(folder) / "sources"
            (original,) = neurosim.glob("DNN_NeuroSim*/Inference_pytorch/NeuroSIM")
            shutil.copytree(original, sources)
            shutil.copytree(neurosim / "drop_in", sources, dirs_exist_ok=True)
            make(sources)
            shutil.copy2(sources / "main", neurosim / "NeuroSim" / "main")


def package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


def runs(program: Path) -> bool:
    """It starts; what it says without arguments does not matter, but a missing library does."""
    try:
        done = subprocess.run([program], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return False
    return "GLIBC" not in done.stderr and "error while loading" not in done.stderr


def make(folder: Path, *targets: str) -> None:
    done = subprocess.run(["make", *targets], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise SystemExit(
            f"make in {folder} failed (it needs make and g++): {said[-1] if said else 'nothing said'}"
        )


if __name__ == "__main__":
    main()
