"""Runs in the simulators' environment: hls4ml's ONNX front end reads a QONNX file as its tutorial says.

python run_hls4ml.py MODEL SCRATCH; prints one JSON object on the last line: the precision of every layer's weights and result.
"""

import json
import sys

import hls4ml
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
from qonnx.transformation.gemm_to_matmul import GemmToMatMul
from qonnx.util.cleanup import cleanup_model


def main() -> None:
    model = cleanup_model(ModelWrapper(sys.argv[1]))
    model = cleanup_model(model.transform(ConvertToChannelsLastAndClean()).transform(GemmToMatMul()))
    config = hls4ml.utils.config.config_from_onnx_model(model, granularity="name", backend="Vivado")
    found = hls4ml.converters.convert_from_onnx_model(
        model, hls_config=config, output_dir=sys.argv[2], backend="Vivado"
    )
    layers = [
        {
            "class": layer.class_name,
            "weight": str(layer.weights["weight"].type.precision) if "weight" in layer.weights else None,
            "result": str(layer.get_output_variable().type.precision),
        }
        for layer in found.get_layers()
    ]
    print("\n" + json.dumps(layers))


if __name__ == "__main__":
    main()
