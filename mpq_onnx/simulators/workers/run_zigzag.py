"""Runs in ZigZag's environment: costs of layers, a JSON line each.

stdin: {"architecture": NAME|FILE, "options": {"clock_mhz", "optimize"}, "points": [{"key", "layer", "fan_in", "weight_bits",
"activation_bits"}]}; layer holds sizes of loops. Cycles become milliseconds by the clock; picojoules become microjoules.
"""

import json
import logging
import math
import os
import sys
import tempfile
from pathlib import Path

OUTPUT_OPERAND, WEIGHT_OPERAND = "O", "I2"
TEMPORAL_FACTORS = 5
"""ZigZag's lpf_limit: prime factors of loops whose orders are all tried; 6, its default, takes five times longer and finds
mappings that are equal within a percent on the shipped architectures."""
SPATIAL_MAPPINGS = 3
"""How many unrollings are tried where the mapping leaves them open."""


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the tool prints is no answer
    job = json.load(sys.stdin)
    import yaml
    import zigzag
    from zigzag.stages.results import visualization

    logging.disable(logging.CRITICAL)
    # Drawings that nobody reads take a third of the time, and of a layer that one step does there can be none.
    visualization.print_mapping = visualization.visualize_memory_hierarchy_graph = nothing
    inputs = Path(zigzag.__file__).parent / "inputs"
    path = Path(job["architecture"])
    mapping = path.with_suffix(".mapping.yaml")
    if not path.is_file():
        name = job["architecture"]
        path = inputs / "hardware" / f"{name}.yaml"
        mapping = inputs / "mapping" / f"{name if name.endswith('_like') else name + '_like'}.yaml"
        if name.startswith("gemm"):
            mapping = inputs / "mapping" / f"{name}.yaml"
    accelerator = yaml.safe_load(path.read_text())
    for point in job["points"]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = simulate(point, accelerator, mapping, job["options"], Path(folder))
            except Exception as error:
                found = {"error": " ".join(str(error).split())[:160] or type(error).__name__}
        print(json.dumps({"key": point["key"], **found}), file=answers, flush=True)


def nothing(*arguments: object, **options: object) -> None:
    """In place of a drawing."""


def simulate(point: dict, accelerator: dict, mapping: Path, options: dict, folder: Path) -> dict:
    """Milliseconds and microjoules of one layer."""
    import yaml
    from zigzag.api import get_hardware_performance_zigzag

    in_memory = bool(accelerator["operational_array"].get("is_imc"))
    if in_memory:
        accelerator = at_widths(accelerator, point)
    hardware = folder / "hardware.yaml"
    # The order of memories is their order from the array outwards.
    hardware.write_text(yaml.safe_dump(accelerator, sort_keys=False))
    if not mapping.is_file():
        mapping = folder / "mapping.yaml"
        mapping.write_text(yaml.safe_dump(open_mapping(accelerator), sort_keys=False))
    answer = get_hardware_performance_zigzag(
        [layer(point, narrowest(accelerator, OUTPUT_OPERAND))],
        str(hardware),
        str(mapping),
        opt="EDP" if options["optimize"] == "edp" else options["optimize"],
        dump_folder=str(folder / "out"),
        lpf_limit=TEMPORAL_FACTORS,
        nb_spatial_mappings_generated=SPATIAL_MAPPINGS,
        in_memory_compute=in_memory,
        loma_show_progress_bar=False,
    )
    energy, cycles = answer[0], answer[1]
    nanoseconds = answer[2] if in_memory else 1000 / options["clock_mhz"]
    return {"latency_ms": cycles * nanoseconds / 1e6, "energy_uj": energy / 1e6}


def layer(point: dict, widest_sum: int) -> dict:
    """The workload of one layer, in ZigZag's own form.

    Partial sums have the width at which nothing overflows, but no more than the narrowest memory that holds outputs: the
    accumulator of the hardware.
    """
    loops = point["layer"]
    weight_bits, bits = point["weight_bits"], point["activation_bits"]
    exact = weight_bits + bits + math.ceil(math.log2(max(point["fan_in"], 1)))
    sums = max(min(exact, widest_sum), min(bits, widest_sum))
    heights = (loops["height"], loops["stride_height"], loops["kernel_height"], loops["dilation_height"])
    widths = (loops["width"], loops["stride_width"], loops["kernel_width"], loops["dilation_width"])
    return {
        "id": 0,
        "name": "layer",
        "operator_type": "Conv",
        "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
        "dimension_relations": [
            f"ix={widths[1]}*ox+{widths[3]}*fx",
            f"iy={heights[1]}*oy+{heights[3]}*fy",
        ],
        "loop_dims": ["B", "G", "K", "C", "OY", "OX", "FY", "FX"],
        "loop_sizes": [
            loops["batch"], loops["groups"], loops["outputs"], loops["inputs"], heights[0], widths[0], heights[2], widths[2],
        ],
        "pr_loop_dims": ["IX", "IY"],
        "pr_loop_sizes": [reach(*widths), reach(*heights)],
        "padding": [[0, 0], [0, 0]],
        "operand_precision": {"W": weight_bits, "I": bits, "O": sums, "O_final": min(bits, sums)},
        "operand_source": {"W": 0, "I": 0},
    }  # fmt: skip


def reach(size: int, stride: int, kernel: int, dilation: int) -> int:
    """Input positions under all windows."""
    return (size - 1) * stride + (kernel - 1) * dilation + 1


def narrowest(accelerator: dict, operand: str) -> int:
    """Bits of the smallest memory that holds an operand."""
    sizes = [int(each["size"]) for each in accelerator["memories"].values() if operand in each["operands"]]
    return min(sizes)


def at_widths(accelerator: dict, point: dict) -> dict:
    """An array in memory at a layer's widths: inputs come in as many bit-serial steps as they need.

    The columns of bits that a weight occupies stay those of the array: narrower weights save what memories do, not what
    the array does (ZigZag's model of an array has one width of weights).
    """
    array = accelerator["operational_array"]
    has = array["input_precision"]
    asked = (point["activation_bits"], point["weight_bits"])
    held = narrowest(accelerator, WEIGHT_OPERAND)
    if asked[1] > held:
        raise ValueError(f"a weight of {asked[1]} bits, where its cells hold {held}")
    if asked[0] > has[0]:
        raise ValueError(f"an input of {asked[0]} bits, where its converters take {has[0]}")
    serial = int(array.get("bit_serial_precision", asked[0]))
    whole_steps = serial * math.ceil(asked[0] / serial)
    return {**accelerator, "operational_array": {**array, "input_precision": [whole_steps, has[1]]}}


def open_mapping(accelerator: dict) -> list:
    """For architectures that come without a mapping: output channels along the first axis of the array, all that is summed up
    along the others."""
    first, *others = accelerator["operational_array"]["dimensions"]
    hint = {first: ["K", "OX"], **{each: ["C", "FX", "FY"] for each in others}}
    return [
        {
            "name": "default",
            "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
            "spatial_mapping_hint": hint,
        }
    ]


if __name__ == "__main__":
    main()
