"""The shapes of a graph's tensors for given lengths of its inputs, node by node, as far as they can be told."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from mpq_onnx.graph.operators import is_standard

LARGEST_KNOWN = 64
"""Elements of an integer tensor whose values are followed: shapes, axes, indices."""
SHAPE_ARITHMETIC = frozenset(
    {
        "Gather", "Slice", "Concat", "Unsqueeze", "Squeeze", "Cast", "Add", "Sub", "Mul", "Div", "Mod", "Equal", "Where",
        "ReduceProd", "Reshape", "Identity", "Min", "Max", "Neg",
    }
)  # fmt: skip

Lengths = list[int | None]


class FollowedShapes:
    """Shapes by tensor, and the values of integer tensors that hang on shapes and constants alone."""

    def __init__(self, model: ir.Model) -> None:
        self.shapes: dict[ir.Value, Lengths] = {}
        self.values: dict[ir.Value, np.ndarray] = {}
        self.opset = model.opset_imports.get("", 21)

    def shape(self, value: ir.Value | None) -> Lengths | None:
        """None for a tensor of unknown rank."""
        if value is None:
            return None
        if value.const_value is not None:
            return list(value.const_value.shape.numpy())
        return self.shapes.get(value)

    def known(self, value: ir.Value | None) -> np.ndarray | None:
        """The numbers of a small integer tensor, constant or computed from shapes."""
        if value is None:
            return None
        tensor = ir.convenience.get_const_tensor(value)
        if tensor is not None:
            return tensor.numpy() if tensor.size <= LARGEST_KNOWN else None
        return self.values.get(value)

    def follow(self, node: ir.Node) -> None:
        """Find what can be told of the outputs of `node`; its inputs have been followed."""
        if not is_standard(node):
            return
        self._follow_value(node)
        types: dict[str, onnx.TypeProto] = {}
        for value in node.inputs:
            if value is None:
                continue
            made = self._type(value)
            if made is None:
                return
            types[str(value.name)] = made
        data = {
            str(value.name): onnx.numpy_helper.from_array(known)
            for value in node.inputs
            if value is not None and (known := self.known(value)) is not None
        }
        try:
            schema = onnx.defs.get_schema(node.op_type, self.opset)
            found = onnx.shape_inference.infer_node_outputs(schema, ir.to_proto(node), types, data)
        except Exception:  # inference raises many kinds for what does not fit; the shape stays unknown
            return
        for value in node.outputs:
            made = found.get(str(value.name))
            if made is not None and made.tensor_type.HasField("shape"):
                self.shapes[value] = [
                    each.dim_value if each.HasField("dim_value") else None
                    for each in made.tensor_type.shape.dim
                ]

    def _type(self, value: ir.Value) -> onnx.TypeProto | None:
        dtype = value.const_value.dtype if value.const_value is not None else value.dtype
        if dtype is None:
            return None
        return onnx.helper.make_tensor_type_proto(int(dtype), self.shape(value))

    def _follow_value(self, node: ir.Node) -> None:
        if node.op_type == "Shape":
            shape = self.shape(node.inputs[0])
            part = (
                None
                if shape is None
                else shape[node.attributes.get_int("start", 0) :][: _count(node, len(shape))]
            )
            if part is not None and None not in part:
                self.values[node.outputs[0]] = np.array(part, np.int64)
            return
        if node.op_type not in SHAPE_ARITHMETIC or len(node.outputs) != 1:
            return
        known = {str(value.name): self.known(value) for value in node.inputs if value is not None}
        if any(array is None for array in known.values()) or not known:
            return
        found = _evaluate(node, self.opset, known)  # type: ignore[arg-type]
        if found is not None and found.size <= LARGEST_KNOWN and found.dtype.kind in "iub":
            self.values[node.outputs[0]] = found


def _count(node: ir.Node, rank: int) -> int:
    """How many lengths a Shape gives."""
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", rank)
    return max(0, len(range(rank)[slice(start, end)]))


def _evaluate(node: ir.Node, opset: int, known: dict[str, np.ndarray]) -> np.ndarray | None:
    proto = ir.to_proto(node)
    make: Callable[..., onnx.ValueInfoProto] = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [proto],
        "one",
        [
            make(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in known.items()
        ],
        [make(proto.output[0], onnx.TensorProto.INT64, None)],
    )
    try:
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
        outputs: Any = ReferenceEvaluator(model).run(None, known)
        return np.asarray(outputs[0])
    except Exception:  # whatever does not fit stays unknown
        return None
