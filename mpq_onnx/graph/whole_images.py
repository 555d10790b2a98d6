"""Networks that take one image as it is, [channels, height, width], and give it an axis of examples themselves.

So torchvision's detectors are exported. Nothing says that the first axis is no batch; but an Unsqueeze puts another in front
of it, and what is convolved then has as many channels as it is long. Such an input gets that axis, of length 1, as networks
have it that were exported for one example; a Squeeze behind it takes it away again.
"""

from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir

from mpq_onnx.graph.operators import STANDARD_DOMAINS

METADATA_GIVEN = "mpq_onnx.axis_of_examples"
"""Of the Squeeze: the name of the input."""
IMAGE_AXES = 3
Axes = tuple[int, ...]
PIXELWISE = frozenset(
    {"Add", "Sub", "Mul", "Div", "Cast", "Identity", "Clip", "Min", "Max", "Neg", "Transpose"}
)
"""What may be computed of an image before it gets its axis."""
AXES_AS_INPUT = 13
"""The first opset in which Squeeze and Unsqueeze read their axes."""


def has_whole_images(model: onnx.ModelProto) -> bool:
    """Would give_axes change it?"""
    return bool(_whole_images(model))


def given_axes(model: ir.Model) -> tuple[str, ...]:
    """The inputs of a loaded model that were whole images in its file."""
    return tuple(
        node.metadata_props[METADATA_GIVEN] for node in model.graph if METADATA_GIVEN in node.metadata_props
    )


def give_axes(model: onnx.ModelProto) -> None:
    """Let every input take [1, channels, height, width], where all inputs are whole images."""
    for value in _whole_images(model):
        _give_axis(model, value)


class _Graph:
    """What is known of the main graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.constants = {each.name: each for each in graph.initializer}
        self.constants |= {
            node.output[0]: attribute.t
            for node in graph.node
            for attribute in node.attribute
            if node.op_type == "Constant" and attribute.name == "value"
        }
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self.readers.setdefault(name, []).append(node)

    def added_axes(self, node: onnx.NodeProto) -> list[int]:
        """Of an Unsqueeze; empty where they are computed."""
        given = next((list(each.ints) for each in node.attribute if each.name == "axes"), None)
        if given is not None or len(node.input) < 2:
            return given or []
        tensor = self.constants.get(node.input[1])
        return [] if tensor is None else onnx.numpy_helper.to_array(tensor).reshape(-1).tolist()

    def with_axis(self, name: str, order: Axes = (0, 1, 2)) -> list[tuple[str, int]] | None:
        """What the Unsqueezes make that alone read an image, with the image's axis that comes behind the new one.

        None where something else reads it.

        Args:
            order: where its axes were in the input.
        """
        found = []
        for node in self.readers.get(name, []):
            if node.op_type == "Shape":
                continue
            if node.op_type == "Unsqueeze" and self.added_axes(node) == [0]:
                found.append((node.output[0], order[0]))
                continue
            others = [each for each in node.input if each and each != name]
            if node.op_type not in PIXELWISE or not all(each in self.constants for each in others):
                return None
            behind = self.with_axis(node.output[0], _turned(node, order))
            if not behind:
                return None
            found += behind
        return found

    def channels(self, name: str) -> Iterator[int | None]:
        """How many input channels the first convolutions behind a tensor have; None for one whose weight is computed."""
        waiting, seen = [name], {name}
        while waiting:
            for node in self.readers.get(waiting.pop(), []):
                if node.op_type == "Conv":
                    weight = self.constants.get(node.input[1])
                    groups = next((each.i for each in node.attribute if each.name == "group"), 1)
                    yield None if weight is None else weight.dims[1] * groups
                elif node.op_type != "Shape":
                    waiting += [each for each in node.output if each not in seen]
                    seen.update(node.output)


def _turned(node: onnx.NodeProto, order: Axes) -> Axes:
    """The order of axes behind a node."""
    turns = next((tuple(each.ints) for each in node.attribute if each.name == "perm"), (2, 1, 0))
    return tuple(order[turn] for turn in turns) if node.op_type == "Transpose" else order


def _whole_images(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    constants = {each.name for each in model.graph.initializer}
    outputs = {each.name for each in model.graph.output}
    inputs = [each for each in model.graph.input if each.name not in constants]
    if not all(len(_lengths(each)) == IMAGE_AXES and each.name not in outputs for each in inputs):
        return []
    graph = _Graph(model)
    return inputs if all(_is_whole(graph, each) for each in inputs) else []


def _lengths(value: onnx.ValueInfoProto) -> list[int]:
    """Of all axes; 0 for an open one."""
    return [each.dim_value for each in value.type.tensor_type.shape.dim]


def _is_whole(graph: _Graph, value: onnx.ValueInfoProto) -> bool:
    images, lengths = graph.with_axis(value.name), _lengths(value)
    return bool(images) and all(
        lengths[axis] > 0 and set(graph.channels(name)) == {lengths[axis]} for name, axis in images or []
    )


def _give_axis(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> None:
    image = _free_name(model, f"{value.name}_image")
    for node in _nodes(model.graph):
        node.input[:] = [image if name == value.name else name for name in node.input]
    opset = next((each.version for each in model.opset_import if each.domain in STANDARD_DOMAINS), 1)
    squeeze = onnx.helper.make_node("Squeeze", [value.name], [image], _free_name(model, f"{image}_squeeze"))
    if opset >= AXES_AS_INPUT:
        axes = onnx.numpy_helper.from_array(np.array([0], np.int64), _free_name(model, f"{image}_axes"))
        model.graph.initializer.append(axes)
        squeeze.input.append(axes.name)
    else:
        squeeze.attribute.append(onnx.helper.make_attribute("axes", [0]))
    squeeze.metadata_props.add(key=METADATA_GIVEN, value=value.name)
    model.graph.node.insert(0, squeeze)
    shape = value.type.tensor_type.shape
    rest = [onnx.TensorShapeProto.Dimension.FromString(each.SerializeToString()) for each in shape.dim]
    del shape.dim[:]
    shape.dim.add(dim_value=1)
    shape.dim.extend(rest)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """With those of branches and bodies."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _nodes(body)


def _free_name(model: onnx.ModelProto, wanted: str) -> str:
    graph = model.graph
    taken = {each.name for each in (*graph.initializer, *graph.input)}
    for node in _nodes(graph):
        taken |= {node.name, *node.output}
    name = wanted
    while name in taken:
        name += "_"
    return name
