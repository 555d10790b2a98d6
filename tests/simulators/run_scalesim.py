"""Runs in the simulators' environment: SCALE-Sim reads a topology and simulates its layers on an array of 32 by 32.

python run_scalesim.py TOPOLOGY; prints one JSON object on the last line: multiply-accumulates and cycles of every line.
"""

import json
import sys

from scalesim.layout_utils import layouts
from scalesim.scale_config import scale_config
from scalesim.single_layer_sim import single_layer_sim
from scalesim.topology_utils import topologies


def main() -> None:
    topology = topologies()
    topology.load_arrays(sys.argv[1])
    topology.topo_calc_hyperparams()
    config = scale_config()
    config.update_from_list(["r", 32, 32, 64, 64, 64, 0, 10_000_000, 20_000_000, "ws", "CALC", []])
    found = {}
    for index in range(topology.get_num_layers()):
        simulation = single_layer_sim()
        simulation.set_params(index, config, topology, layouts(), verbose=False)
        simulation.run()
        name = topology.topo_arrays[index][0]
        macs = topology.layers_calculated_hyperparams[index][2]
        found[name] = {"macs": macs, "cycles": int(simulation.get_compute_report_items()[0])}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
