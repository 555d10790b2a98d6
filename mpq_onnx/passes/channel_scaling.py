"""Channels of one link divided by factors, and the weights that read them multiplied: the network computes the same."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.weights import along_axis, channels_first
from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name
from mpq_onnx.graph.mac import channel_axis
from mpq_onnx.passes.channel_links import Link, constant_weight


def scale_link(link: Link, factors: np.ndarray) -> None:
    """Divide the channels of one link by `factors` [channels], in place."""
    weight, axis = constant_weight(link.producer), channel_axis(link.producer)
    _set(link.producer, 1, weight / factors.reshape(along_axis(weight.ndim, axis)))
    if len(link.producer.inputs) > 2 and link.producer.inputs[2] is not None:
        bias = link.producer.inputs[2].const_value.numpy()  # type: ignore[union-attr]
        _set(link.producer, 2, bias / factors)
    for node in link.consumers:
        _set(node, 1, _scaled_inputs(node, factors))


def scale_tensor(graph: ir.Graph, value: ir.Value, factors: np.ndarray) -> None:
    """Divide the channels of a tensor that depthwise convolutions alone read by `factors` [channels], in place."""
    readers = [use.node for use in value.uses()]
    name = fresh_name(graph, f"{value.name}_equalized")
    assert value.shape is not None
    column = (1 / factors).reshape(along_axis(len(value.shape), 1)).astype(np.float32)
    constant = ir.Value(name=fresh_name(graph, f"{name}_factors"), const_value=ir.tensor(column))
    constant.shape, constant.dtype = ir.Shape(column.shape), ir.DataType.FLOAT
    graph.register_initializer(constant)
    product = ir.node("Mul", [value, constant], name=fresh_node_name(graph, name))
    product.outputs[0].name = name
    product.outputs[0].shape, product.outputs[0].type = value.shape, value.type
    producer = value.producer()
    assert producer is not None
    graph.insert_after(producer, product)
    for node in readers:
        node.replace_input_with(0, product.outputs[0])
        _set(node, 1, _scaled_inputs(node, factors))


def input_channel_rows(node: ir.Node) -> np.ndarray:
    """The weights that read each input channel, [input channels, weights of one]."""
    weight = constant_weight(node)
    if node.op_type == "Conv":
        groups = node.attributes.get_int("group", 1)
        by_group = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        return by_group.transpose(0, 2, 1, 3).reshape(groups * weight.shape[1], -1)
    return channels_first(weight, _input_axis(node)).reshape(weight.shape[_input_axis(node)], -1)


def _scaled_inputs(node: ir.Node, factors: np.ndarray) -> np.ndarray:
    """The node's weight with the part that reads input channel c times factors[c]."""
    weight = constant_weight(node)
    if node.op_type == "Conv":
        groups = node.attributes.get_int("group", 1)
        by_output = np.repeat(factors.reshape(groups, -1), weight.shape[0] // groups, axis=0)
        return weight * by_output.reshape(*by_output.shape, *[1] * (weight.ndim - 2))
    return weight * factors.reshape(along_axis(weight.ndim, _input_axis(node)))


def _input_axis(node: ir.Node) -> int:
    """Of a matrix: the axis that is summed over."""
    return 1 - channel_axis(node)


def _set(node: ir.Node, index: int, array: np.ndarray) -> None:
    value = node.inputs[index]
    assert value is not None
    value.const_value = ir.tensor(array.astype(np.float32), name=value.name)
