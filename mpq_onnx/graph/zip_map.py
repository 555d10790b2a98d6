"""ZipMap, which scikit-learn's converters end classifiers with: a dictionary of class and probability for every example.

A sequence of maps is no tensor, and onnx_ir cannot hold it. The tensor of probabilities stands in its place, under its name.
"""

import onnx


def drop_zip_maps(model: onnx.ModelProto) -> bool:
    """Let every ZipMap pass its input on; returns whether there was one."""
    nodes = [node for node in model.graph.node if node.op_type == "ZipMap" and node.domain == "ai.onnx.ml"]
    widths: dict[str, int] = {}
    for node in nodes:
        widths[node.output[0]] = max(
            (len(each.ints) or len(each.strings) for each in node.attribute), default=0
        )
        node.op_type, node.domain = "Identity", ""
        node.ClearField("attribute")
    for value in (*model.graph.output, *model.graph.value_info):
        if value.name in widths:
            # No number of rows: Identity passes on whatever the probabilities have.
            shape = [None, widths[value.name] or None]
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, shape))
    return bool(nodes)
