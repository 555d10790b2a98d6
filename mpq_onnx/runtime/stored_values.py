"""The values of tensors that depend on constants alone, such as weights that an ONNX function unpacks, by onnxruntime."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.model_file import clone
from mpq_onnx.runtime.session import Runner


def stored_values(model: ir.Model, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of the tensors `names`, none of which may depend on an input of the model."""
    if not names:
        return {}
    copy = clone(model)
    wanted = ir.convenience.extract(copy.graph, [], list(names))
    alone = ir.Model(wanted, ir_version=copy.ir_version, functions=list(copy.functions.values()))
    runner = Runner(alone, "cpu", where="the model's constants")
    return dict(zip(names, runner.run({}), strict=True))
