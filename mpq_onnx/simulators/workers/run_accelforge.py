"""Runs in AccelForge's environment: energy and latency of layers, a JSON line each.

stdin: {"architecture": NAME|FILE, "options": {"optimize", "adc_bits", "laser_efficiency", "variables"}, "points": [{"key",
"layer", "times", "fan_in", "energy_per_mac"}]}; layer is a workload of AccelForge. Joules become microjoules,
seconds milliseconds.

Groups come as one group and how often it runs, which is what the mapper makes of a rank of groups. An energy per MAC is light
on the detectors where the architecture has lasers, in photons; elsewhere a number of repeats.
"""

import importlib.util
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

PHOTON_JOULES = 0.128e-18
"""At 1.55 um."""
LASER = "Laser"
OWN_MEMORY = ("raella",)
"""Architectures that hold a layer on the chip; above the others stands a memory that costs nothing."""
CONVERTER_BITS = 8
"""Where an architecture does not say."""
FEWEST_ADC_BITS = 4
"""For which the model of converters is made."""
ISAAC_BUFFER_BITS = 64 * 1024 * 8
"""ISAAC's embedded DRAM of 64 KB a tile, which the example leaves out: its buffers alone hold no layer."""


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the tool prints is no answer
    job = json.load(sys.stdin)
    import accelforge
    from accelforge.mapper.FFM.mappings import Mappings

    accelforge.set_n_parallel_jobs(1)
    # Every mapping is drawn by graphviz's dot, which need not be there, into a file that nobody reads.
    Mappings.render = lambda self, *arguments, **options: ""
    for point in job["points"]:
        try:
            found = simulate(point, job["architecture"], job["options"])
        except Exception as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            found = {"error": (lines[0][:160] if lines else type(error).__name__)}
        print(json.dumps({"key": point["key"], **found}), file=answers, flush=True)


def simulate(point: dict, architecture: str, options: dict) -> dict:
    """Of a whole layer."""
    own_memory = architecture in OWN_MEMORY
    try:
        mappings = mapped(point, architecture, options, main_memory=not own_memory)
    except Exception:
        if not own_memory:
            raise
        mappings = mapped(point, architecture, options, main_memory=True)  # a layer too large for the chip
    times = point["times"]
    energy_per_mac = point["energy_per_mac"]
    if energy_per_mac is not None and LASER not in mappings.energy(per_component=True):
        times *= max(round(energy_per_mac), 1)
    return {
        "latency_ms": float(mappings.latency()) * times * 1e3,
        "energy_uj": float(mappings.energy()) * times * 1e6,
    }


def mapped(point: dict, architecture: str, options: dict, main_memory: bool) -> Any:
    """The best mapping of one group."""
    import accelforge

    spec = loader().get_spec(file_stem(architecture), add_dummy_main_memory=main_memory)
    repair(spec, architecture)
    set_variables(spec, options["variables"] or {})
    spec.workload = accelforge.Workload(**point["layer"])
    has_laser = LASER in [node.name for node in components(spec)]
    photons = point["energy_per_mac"] if has_laser else None
    resolution = options["adc_bits"] or adc_bits(photons, point["fan_in"], spec.arch.variables)
    if resolution is not None:
        spec.arch.variables.adc_resolution = resolution
    if photons is not None:
        set_laser(spec, photons, options["laser_efficiency"])
    metrics = {"edp": "ENERGY_DELAY_PRODUCT", "energy": "ENERGY", "latency": "LATENCY"}
    spec.mapper.metrics = accelforge.Metrics[metrics[options["optimize"]]]
    return spec.map_workload_to_arch(print_progress=False)


def loader() -> Any:
    """AccelForge's own function that reads compute-in-memory architectures; it lies among its examples."""
    place = examples() / "_load_spec.py"
    found = importlib.util.spec_from_file_location("_load_spec", place)
    if found is None or found.loader is None:
        raise FileNotFoundError(place)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def examples() -> Path:
    import accelforge

    return Path(accelforge.__file__).parent.parent / "examples" / "arches" / "compute_in_memory"


def file_stem(architecture: str) -> str:
    """What get_spec takes: a path without .yaml."""
    if Path(architecture).is_file():
        return str(Path(architecture).with_suffix(""))
    exact = examples() / f"{architecture}.yaml"
    (path,) = [exact] if exact.is_file() else list(examples().glob(f"{architecture}_*.yaml"))
    return path.stem


def components(spec: Any) -> list:
    import accelforge

    return list(spec.arch.get_nodes_of_type(accelforge.arch.Leaf))


def repair(spec: Any, architecture: str) -> None:
    """What version 1.0.467's examples need to run with its own models."""
    variables = spec.arch.variables
    if not hasattr(variables, "throughput_scale"):
        variables.throughput_scale = 1  # ISAAC's converter reads it, and nothing says it
    for node in components(spec):
        if getattr(node, "component_class", None) == "ADC":
            attributes = node.extra_attributes_for_component_model
            if not hasattr(attributes, "n_bits"):
                attributes.n_bits = "adc_resolution"  # RAELLA's has another name there
        if architecture == "isaac" and node.name in ("InputBuffer", "OutputBuffer"):
            node.size = ISAAC_BUFFER_BITS


def set_variables(spec: Any, values: dict) -> None:
    """Variables that the user gives; one that the architecture has not is refused."""
    from accelforge import LiteralString

    for name, text in values.items():
        try:
            value = json.loads(text)
        except ValueError:
            value = LiteralString(text)
        places = [each for each in (spec.variables, spec.arch.variables) if hasattr(each, name)]
        if not places:
            raise ValueError(f"its architecture has no variable {name}")
        for each in places:
            setattr(each, name, value)


def adc_bits(photons: float | None, fan_in: int, variables: Any) -> int | None:
    """Resolution that shot noise leaves, no more than the architecture has; None where nothing says otherwise.

    A sum of D products is at most |x| |w|, and its noise |x| |w| / sqrt(D E): the range 2 |x| |w| holds sqrt(D E / 3) steps of
    a uniform quantizer with that deviation, which is the definition of noise-equivalent bits (arXiv 2102.06365).
    """
    if photons is None:
        return None
    steps = math.ceil(math.sqrt(fan_in * photons / 3)) + 1
    own = int(getattr(variables, "adc_resolution", CONVERTER_BITS))
    return max(min(math.ceil(math.log2(steps)), own), FEWEST_ADC_BITS)


def set_laser(spec: Any, photons: float, efficiency: float) -> None:
    """Lasers of the power at which every product of a cycle gets so many photons."""
    evaluated = spec.calculate_component_costs(einsum_name=spec.workload.einsums[0].name)
    (laser,) = [node for node in components(evaluated) if node.name == LASER]
    own_joules = float(laser.leak_power) * float(evaluated.arch.variables.cycle_period)
    for node in components(spec):
        if node.name == LASER:
            node.leak_power_scale = photons * PHOTON_JOULES / efficiency / own_joules


if __name__ == "__main__":
    main()
