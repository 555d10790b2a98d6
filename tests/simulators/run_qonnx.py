"""Runs in the simulators' environment: QONNX cleans a file up, runs it on the golden tensors, and counts what it costs.

python run_qonnx.py FOLDER {qonnx,qcdq}; prints one JSON object.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.qcdq_to_qonnx import QCDQToQuant
from qonnx.util.cleanup import cleanup_model
from qonnx.util.inference_cost import inference_cost


def tensors(folder: Path, kind: str) -> list[np.ndarray]:
    paths = sorted(folder.glob(f"{kind}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    return [numpy_helper.to_array(onnx.load_tensor(str(path))) for path in paths]


def main() -> None:
    folder, form = Path(sys.argv[1]), sys.argv[2]
    model = ModelWrapper(str(folder / "model.onnx"))
    if form == "qcdq":
        model = model.transform(QCDQToQuant())
    quantizers = model.get_nodes_by_op_type("Quant")
    widths = {
        node.output[0]: float(np.asarray(model.get_initializer(node.input[3])).reshape(()))
        for node in quantizers
    }
    model = cleanup_model(model, override_inpsize=1 if form == "qcdq" else None)
    difference = 0.0
    for example in sorted((folder / "golden").iterdir()):
        names = [value.name for value in model.graph.input]
        found = execute_onnx(model, dict(zip(names, tensors(example, "input"), strict=True)))
        for value, wanted in zip(model.graph.output, tensors(example, "output"), strict=True):
            difference = max(difference, float(np.abs(found[value.name] - wanted).max()))
    cost = inference_cost(model, discount_sparsity=False)["total_cost"]
    print(
        json.dumps(
            {
                "widths": widths,
                "other_quantizers": [
                    node.op_type for node in model.graph.node if "quantize" in node.op_type.lower()
                ],
                "difference": difference,
                "cost": {name: value for name, value in cost.items() if name.startswith("op_mac")},
                "weight_bits": cost["total_mem_w_bits"],
                "bit_operations": cost["total_bops"],
            }
        )
    )


if __name__ == "__main__":
    main()
