"""Networks that gpu_check.py builds itself, with onnx.helper and random weights: a CNN, and transformers of any size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 20
SIDE = 16
"""Pixels of the CNN's images."""


@dataclass(frozen=True)
class TransformerSize:
    """Of an encoder with a classifier on its first token."""

    layers: int
    width: int
    heads: int
    vocabulary: int
    tokens: int
    classes: int

    @property
    def inner(self) -> int:
        """Width between the two products of a layer's second half."""
        return 4 * self.width


SMALL_TRANSFORMER = TransformerSize(layers=1, width=32, heads=4, vocabulary=40, tokens=8, classes=5)
BERT_BASE = TransformerSize(layers=12, width=768, heads=12, vocabulary=30522, tokens=128, classes=3)


def small_cnn(seed: int = 0) -> onnx.ModelProto:
    """Convolutions (a residual one, a depthwise one, one of stride 2), pools and a classifier: 3x16x16 to 5 classes."""
    draw = _Weights(seed)
    tensors = {
        "stem.weight": draw(16, 3, 3, 3), "stem.bias": draw(16, scale=0.1),
        "inner.weight": draw(16, 16, 3, 3), "inner.bias": draw(16, scale=0.1),
        "depthwise.weight": draw(16, 1, 3, 3), "depthwise.bias": draw(16, scale=0.1),
        "last.weight": draw(32, 16, 1, 1), "last.bias": draw(32, scale=0.1),
        "fc.weight": draw(5, 32), "fc.bias": draw(5, scale=0.1),
    }  # fmt: skip

    def conv(source: str, name: str, **attributes: object) -> NodeProto:
        return helper.make_node(
            "Conv", [source, f"{name}.weight", f"{name}.bias"], [name], name, **attributes
        )

    nodes = [
        conv("images", "stem", pads=[1] * 4),
        helper.make_node("Relu", ["stem"], ["stem.on"], "stem.relu"),
        conv("stem.on", "inner", pads=[1] * 4),
        helper.make_node("Add", ["inner", "stem.on"], ["sum"], "residual"),
        helper.make_node("Relu", ["sum"], ["sum.on"], "residual.relu"),
        helper.make_node("MaxPool", ["sum.on"], ["pooled"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        conv("pooled", "depthwise", pads=[1] * 4, strides=[2, 2], group=16),
        helper.make_node("Relu", ["depthwise"], ["depthwise.on"], "depthwise.relu"),
        conv("depthwise.on", "last"),
        helper.make_node("Relu", ["last"], ["last.on"], "last.relu"),
        helper.make_node("GlobalAveragePool", ["last.on"], ["mean"], "mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    return _model(nodes, images, ("logits", ["n", 5]), tensors)


def transformer(size: TransformerSize, seed: int = 0) -> onnx.ModelProto:
    """BERT's encoder: embeddings, attention and MLP with LayerNormalization behind each, a classifier; int64 `tokens` in."""
    draw = _Weights(seed)
    width, heads = size.width, size.heads
    tensors = {
        "words": draw(size.vocabulary, width, scale=1.0), "places": draw(size.tokens, width, scale=1.0),
        "split": np.array([0, 0, heads, width // heads], np.int64), "join": np.array([0, 0, width], np.int64),
        "scale": np.array((width / heads) ** -0.5, np.float32), "first": np.array(0, np.int64),
        "head.weight": draw.product(width, size.classes), "head.bias": draw(size.classes, scale=0.1),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["words", "tokens"], ["embedded"], "words.look_up"),
        helper.make_node("Add", ["embedded", "places"], ["placed"], "places.add"),
    ]
    source = _normalized("placed", "embedding.norm", width, nodes, tensors)
    for layer in range(size.layers):
        source = _layer(source, f"layer{layer}", size, draw, nodes, tensors)
    nodes += [
        helper.make_node("Gather", [source, "first"], ["pooled"], "pooler", axis=1),
        helper.make_node("Gemm", ["pooled", "head.weight", "head.bias"], ["logits"], "head"),
    ]
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n", size.tokens])
    return _model(nodes, tokens, ("logits", ["n", size.classes]), tensors)


class _Weights:
    """Random tensors, float32; without a scale, of He's for a weight whose first axis are the output channels."""

    def __init__(self, seed: int) -> None:
        self.generator = np.random.default_rng(seed)

    def __call__(self, *shape: int, scale: float | None = None) -> np.ndarray:
        chosen = (2 / np.prod(shape[1:])) ** 0.5 if scale is None else scale
        return (self.generator.standard_normal(shape, np.float32) * chosen).astype(np.float32)

    def product(self, inputs: int, outputs: int) -> np.ndarray:
        """The right-hand side of a matrix product, [inputs, outputs]."""
        return self(inputs, outputs, scale=inputs**-0.5)


def _layer(
    source: str,
    name: str,
    size: TransformerSize,
    draw: _Weights,
    nodes: list[NodeProto],
    tensors: dict[str, np.ndarray],
) -> str:
    """Append one layer that reads `source`; returns what it makes."""

    def product(read: str, part: str, inputs: int, outputs: int) -> str:
        made = f"{name}.{part}"
        tensors[f"{made}.weight"] = draw.product(inputs, outputs)
        tensors[f"{made}.bias"] = draw(outputs, scale=0.1)
        nodes.append(helper.make_node("MatMul", [read, f"{made}.weight"], [f"{made}.product"], made))
        nodes.append(helper.make_node("Add", [f"{made}.product", f"{made}.bias"], [made], f"{made}.add"))
        return made

    def one(op_type: str, read: Sequence[str], part: str, **attributes: object) -> str:
        made = f"{name}.{part}"
        nodes.append(helper.make_node(op_type, read, [made], made, **attributes))
        return made

    width = size.width
    by_head = {}
    for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
        split = one("Reshape", [product(source, part, width, width), "split"], f"{part}.split")
        by_head[part] = one("Transpose", [split], f"{part}.heads", perm=order)
    scores = one("MatMul", [by_head["query"], by_head["key"]], "scores")
    attention = one("Softmax", [one("Mul", [scores, "scale"], "scaled")], "attention", axis=-1)
    mixed = one("MatMul", [attention, by_head["value"]], "mixed")
    joined = one("Reshape", [one("Transpose", [mixed], "unheads", perm=[0, 2, 1, 3]), "join"], "joined")
    added = one("Add", [product(joined, "output", width, width), source], "residual")
    middle = _normalized(added, f"{name}.norm", width, nodes, tensors)
    raised = one("Gelu", [product(middle, "up", width, size.inner)], "gelu")
    added = one("Add", [product(raised, "down", size.inner, width), middle], "residual2")
    return _normalized(added, f"{name}.norm2", width, nodes, tensors)


def _normalized(
    source: str, name: str, width: int, nodes: list[NodeProto], tensors: dict[str, np.ndarray]
) -> str:
    """Append a LayerNormalization; returns what it makes."""
    tensors[f"{name}.scale"], tensors[f"{name}.bias"] = (
        np.ones(width, np.float32),
        np.zeros(width, np.float32),
    )
    nodes.append(
        helper.make_node(
            "LayerNormalization", [source, f"{name}.scale", f"{name}.bias"], [name], f"{name}.node"
        )
    )
    return name


def _model(
    nodes: Sequence[NodeProto],
    inputs: onnx.ValueInfoProto,
    output: tuple[str, list[str | int]],
    tensors: Mapping[str, np.ndarray],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "gpu_check",
        [inputs],
        [helper.make_tensor_value_info(output[0], TensorProto.FLOAT, output[1])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
