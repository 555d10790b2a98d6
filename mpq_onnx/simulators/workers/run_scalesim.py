"""Runs in SCALE-Sim's environment: cycles of layers, a JSON line each.

stdin: {"architecture": NAME|FILE, "options": {"clock_mhz"}, "points": [{"key", "layer", "times", "weight_bits",
"activation_bits"}]}; layer is a line of SCALE-Sim's topology, without name.

SCALE-Sim knows words, not bits. Interfaces and buffers of an architecture are meant for words of 8 bits: at b bits, 8/b times
as many words pass in a cycle and lie in a buffer. Groups run one after the other; an example's images as well.
"""

import json
import os
import sys
from pathlib import Path

WORD_BITS = 8
"""For which bandwidths and sizes of an architecture are given."""
OFFSETS = (0, 10_000_000, 20_000_000)
"""Of the operands in the address space: SCALE-Sim's own."""
BUFFERS_KB, WORDS_A_CYCLE = 64, 16
"""Of each operand, in the architectures that are named by the size of their arrays."""
KB = 1024


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the tool prints is no answer
    job = json.load(sys.stdin)
    hardware = architecture(job["architecture"])
    for point in job["points"]:
        try:
            count = cycles(point, hardware)
            found = {"latency_ms": count / job["options"]["clock_mhz"] / 1e3}
        except Exception as error:
            found = {"error": " ".join(str(error).split())[:160] or type(error).__name__}
        print(json.dumps({"key": point["key"], **found}), file=answers, flush=True)


def architecture(name: str) -> dict:
    """Sizes in words of 8 bits: the array, its dataflow, buffers and interfaces of input, weight and output."""
    if not Path(name).is_file():
        rows, columns = map(int, name.rpartition("_")[2].split("x"))
        return {
            "rows": rows, "columns": columns, "dataflow": "ws",
            "buffers_kb": [BUFFERS_KB] * 3, "words": [WORDS_A_CYCLE] * 3,
        }  # fmt: skip
    from scalesim.scale_config import scale_config

    read = scale_config()
    read.read_conf_file(name)
    if not read.valid_conf_flag:
        raise SystemExit(f"{name}: no configuration of SCALE-Sim; InterfaceBandwidth must be USER or CALC")
    rows, columns = read.get_array_dims()
    words = [WORDS_A_CYCLE] * 3
    if read.use_user_dram_bandwidth():
        words = [
            read.ifmap_sram_bank_bandwidth,
            read.filter_sram_bank_bandwidth,
            read.get_bandwidths_as_list()[0],
        ]
    return {
        "rows": rows, "columns": columns, "dataflow": read.get_dataflow(),
        "buffers_kb": list(read.get_mem_sizes()), "words": words,
    }  # fmt: skip


def cycles(point: dict, hardware: dict) -> int:
    """Of a whole layer: stalls and the filling of buffers included."""
    bits = (point["activation_bits"], point["weight_bits"], point["activation_bits"])
    return point["times"] * one_group(point["layer"], bits, hardware)


def one_group(layer: list, bits: tuple, hardware: dict) -> int:
    """Cycles that SCALE-Sim counts for one layer without groups."""
    from scalesim.layout_utils import layouts
    from scalesim.scale_config import scale_config
    from scalesim.single_layer_sim import single_layer_sim
    from scalesim.topology_utils import topologies

    words = [
        max(round(each * WORD_BITS / width), 1) for each, width in zip(hardware["words"], bits, strict=True)
    ]
    buffers = [
        max(round(each * WORD_BITS / width), 1)
        for each, width in zip(hardware["buffers_kb"], bits, strict=True)
    ]
    config = scale_config()
    config.update_from_list(
        [
            "layer",
            hardware["rows"],
            hardware["columns"],
            *buffers,
            *OFFSETS,
            hardware["dataflow"],
            "USER",
            [words[2]],
        ]
    )
    # It takes the bandwidth of a bank for that of the interface behind it.
    config.ifmap_sram_bank_bandwidth, config.filter_sram_bank_bandwidth = words[:2]
    config.ifmap_sram_bank_num = config.filter_sram_bank_num = 1
    topology = topologies()
    topology.load_layer_params_from_list("layer", ["layer", *layer, 1, 1])
    simulation = single_layer_sim()
    simulation.set_params(0, config, topology, layouts(), verbose=False)
    simulation.run()
    return int(simulation.get_compute_report_items()[0])


if __name__ == "__main__":
    main()
