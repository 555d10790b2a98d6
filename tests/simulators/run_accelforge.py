"""Runs in AccelForge's environment: it reads the workloads of a folder and maps them onto the compute-in-memory macro of Jia.

python run_accelforge.py FOLDER; prints one JSON object on the last line: microjoules and milliseconds of every file.
"""

import importlib.util
import json
import sys
from pathlib import Path

import accelforge
from accelforge.mapper.FFM.mappings import Mappings


def main() -> None:
    accelforge.set_n_parallel_jobs(1)
    Mappings.render = lambda self, *arguments, **options: ""  # drawings need graphviz
    place = (
        Path(accelforge.__file__).parent.parent
        / "examples"
        / "arches"
        / "compute_in_memory"
        / "_load_spec.py"
    )
    found = importlib.util.spec_from_file_location("_load_spec", place)
    loader = importlib.util.module_from_spec(found)
    found.loader.exec_module(loader)
    costs = {}
    for path in sorted(Path(sys.argv[1]).glob("*.yaml")):
        spec = loader.get_spec("jia_jssc_2020", add_dummy_main_memory=True)
        spec.workload = accelforge.Workload.from_yaml(str(path), top_key="workload")
        mappings = spec.map_workload_to_arch(print_progress=False)
        costs[path.stem] = {
            "energy_uj": float(mappings.energy()) * 1e6,
            "latency_ms": float(mappings.latency()) * 1e3,
        }
    print("\n" + json.dumps(costs))


if __name__ == "__main__":
    main()
