"""Runs in the simulators' environment: ZigZag's parser reads a workload.

python run_zigzag.py WORKLOAD; prints one JSON object on the last line: precision and loop sizes of every layer.
"""

import json
import sys
from pathlib import Path

import zigzag
from zigzag.parser.onnx.onnx_model_parser import ONNXModelParser
from zigzag.workload.layer_node import LayerNode


def main() -> None:
    mapping = Path(zigzag.__file__).parent / "inputs" / "mapping" / "default.yaml"
    workload = ONNXModelParser(sys.argv[1], str(mapping)).run()
    layers = {
        node.name: {
            "precision": {str(operand): bits for operand, bits in node.operand_precision.data.items()},
            "sizes": {str(dimension): size for dimension, size in node.layer_dim_sizes.data.items()},
        }
        for node in workload.nodes()
        if isinstance(node, LayerNode)
    }
    print("\n" + json.dumps(layers))


if __name__ == "__main__":
    main()
