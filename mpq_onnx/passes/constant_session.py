"""onnxruntime on a few nodes of a model: what constants become behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

if TYPE_CHECKING:
    import onnxruntime as ort


@dataclass(frozen=True)
class ConstantSession:
    """Nodes that are computed by themselves."""

    session: "ort.InferenceSession | None"
    """None where onnxruntime does not take them."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[Any] | None:
        """The outputs; None where onnxruntime cannot compute them."""
        try:
            return None if self.session is None else list(self.session.run(None, feeds))
        except Exception:  # onnxruntime has a class of its own for everything
            return None


def constant_session(
    graph: ir.Graph, nodes: Sequence[onnx.NodeProto], given: Sequence[ir.Value], read: Sequence[ir.Value]
) -> ConstantSession:
    """`nodes`, in the order in which they are to run, as a model of their own.

    Args:
        graph: the model's main graph, whose opset holds.
        given: inputs, of any shapes.
        read: outputs.
    """
    import onnxruntime as ort  # takes a while to load, and most models leave nothing to compute

    inputs = [onnx.helper.make_tensor_value_info(str(each.name), _type_of(each), None) for each in given]
    outputs = [onnx.ValueInfoProto(name=str(each.name)) for each in read]
    part = onnx.helper.make_graph(nodes, "constants", inputs, outputs)
    opsets = [onnx.helper.make_opsetid("", graph.opset_imports[""])]
    proto = onnx.helper.make_model(part, opset_imports=opsets, ir_version=10)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    except Exception:
        return ConstantSession(None)
    return ConstantSession(session)


def _type_of(value: ir.Value) -> int:
    """The number that ONNX has for the type of its elements; 0, which onnxruntime does not take, where that is not known."""
    dtype = value.dtype if value.const_value is None else value.const_value.dtype
    return int(dtype or ir.DataType.UNDEFINED)
