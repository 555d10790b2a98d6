"""Precision and noise of every multiply-accumulate node of a file of mpq-onnx, by the onnx package alone (docs/handoff.md).

python read_precision.py FILE     prints a JSON object a node
"""

import json
import sys

import onnx

model = onnx.load(sys.argv[1], load_external_data=False)
facts = {entry.key: entry.value for entry in model.metadata_props}
nodes = json.loads(facts.get("mpq_onnx.allocation", '{"nodes": []}'))["nodes"]
activation_bits = {node["activation"]: node["activation_bits"] for node in nodes}
weights = {node["node"]: node for node in nodes if node["weight"] is not None}

for node in model.graph.node:
    row = {"node": node.name, "op": node.op_type}
    if node.name in weights:
        entry = weights[node.name]
        row |= {"weight_bits": entry["weight_bits"], "input_bits": activation_bits.get(entry["input"])}
    if node.domain == "mpq_onnx.noise":
        noise = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        row |= {
            "noise": [name.decode() for name in noise["noise"]],
            "energy_unit": noise["energy_unit"].decode(),
        }
        row |= {name: noise.get(name) for name in ("energy_per_mac", "fan_in", "weight_range", "input_range")}
    if len(row) > 2:
        print(json.dumps(row))
