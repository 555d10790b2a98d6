"""ZipMap, which scikit-learn's converters end classifiers with: a dictionary of class and probability for every example.

A sequence of maps is no tensor, and onnx_ir cannot hold it. The tensor of probabilities stands in its place, under its name.
"""

from collections.abc import Iterator

import onnx
import onnx_ir as ir

METADATA_KEYS = "mpq_onnx.zip_map"
"""Of the node in a ZipMap's place: what the columns stand for."""


def has_zip_maps(model: onnx.ModelProto) -> bool:
    """Would drop_zip_maps change it?"""
    return any(True for _ in _zip_maps(model))


def drop_zip_maps(model: onnx.ModelProto) -> None:
    """Let every ZipMap pass its input on."""
    widths: dict[str, int] = {}
    for node in _zip_maps(model):
        keys = [
            key.decode() if isinstance(key, bytes) else str(key)
            for each in node.attribute
            for key in (*each.ints, *each.strings)
        ]
        widths[node.output[0]] = len(keys)
        node.op_type, node.domain = "Identity", ""
        node.ClearField("attribute")
        node.metadata_props.add(key=METADATA_KEYS, value=", ".join(keys))
    for value in (*model.graph.output, *model.graph.value_info):
        if value.name in widths:
            # No number of rows: Identity passes on whatever the probabilities have.
            shape = [None, widths[value.name] or None]
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, shape))


def dropped_zip_maps(model: ir.Model) -> dict[str, str]:
    """What the columns stand for of every tensor that was a ZipMap's dictionaries in the file."""
    return {
        str(node.outputs[0].name): node.metadata_props[METADATA_KEYS]
        for node in model.graph
        if METADATA_KEYS in node.metadata_props
    }


def _zip_maps(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    return (node for node in model.graph.node if node.op_type == "ZipMap" and node.domain == "ai.onnx.ml")
