"""Write a quantized network into a float graph as QuantizeLinear/DequantizeLinear pairs.

Up to 256 levels an activation goes through uint8, with an integer Clip between Q and DQ where it has fewer (the QCDQ
convention). Above it goes through uint16, and the Clip stands before Q in float: onnxruntime has no Clip of uint16. The same
after a Softmax: onnxruntime would fuse it into a kernel that truncates where QuantizeLinear rounds, which at few bits costs
half a level; at 256 levels, where nothing is narrowed, a Min stands there, since that kernel wraps around at the top. A
quantizer with dynamic ranges is a function of its own (ops.dynamic_quantize). Weights lie as the storage form says, biases
are int32 or float.
"""

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.biases import QuantizedBias
from mpq_onnx.arithmetic.quantization import dequantize
from mpq_onnx.arithmetic.quantized_network import ActivationQuantizer, DynamicQuantizer, QuantizedNetwork
from mpq_onnx.graph.fresh_names import fresh_name, fresh_node_name, take_name
from mpq_onnx.graph.mac import BIAS_INPUT
from mpq_onnx.graph.model_file import add_initializer
from mpq_onnx.graph.quantized_tensors import mark_quantized
from mpq_onnx.ops.dynamic_quantize import dynamic_quantizer_node
from mpq_onnx.ops.storage.dequantize import bias_axis, dequantize_node
from mpq_onnx.ops.storage.writer import WeightWriter


class InsertQdqPass(ir.passes.InPlacePass):
    """Quantize the tensors that a QuantizedNetwork names; all others stay as they are."""

    def __init__(self, network: QuantizedNetwork, write_weight: WeightWriter) -> None:
        super().__init__()
        self.network = network
        self.write_weight = write_weight

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        values = _values(graph)
        nodes = {str(node.name): node for node in graph}
        for tensor, quantizer in self.network.activations.items():
            _quantize_activation(model, values[tensor], quantizer, self.network.readers.get(tensor))
        for name, bias in self.network.biases.items():
            integers = add_initializer(graph, f"{name}_bias_quantized", bias.integers)
            axis = bias_axis(bias.scale, 0)
            dequantized = dequantize_node(graph, f"{name}_bias", integers, bias.scale, None, axis)
            mark_quantized(_producer(dequantized), str(dequantized.name))
            _replace_bias(graph, nodes[name], dequantized)
        for name, corrected in self.network.float_biases.items():
            _replace_bias(graph, nodes[name], add_initializer(graph, f"{name}_bias_corrected", corrected))
        for tensor, array in self.network.constants.items():
            graph.initializers[tensor].const_value = ir.tensor(array, name=tensor)
        for tensor, bias in self.network.stored_constants.items():
            _store_constant(graph, tensor, bias)
        for tensor, weight in self.network.weights.items():
            _read_instead(graph, tensor, self.write_weight(model, tensor, weight))
        return ir.passes.PassResult(model, modified=bool(self.network.activations or self.network.weights))


def _producer(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None
    return node


def _replace_bias(graph: ir.Graph, node: ir.Node, new: ir.Value) -> None:
    """Give `node` another bias; the old one goes where nobody else reads it."""
    old = node.inputs[BIAS_INPUT] if len(node.inputs) > BIAS_INPUT else None
    if len(node.inputs) <= BIAS_INPUT:
        node.resize_inputs(BIAS_INPUT + 1)
    node.replace_input_with(BIAS_INPUT, new)
    if old is not None and not old.uses() and old.name in graph.initializers:
        del graph.initializers[str(old.name)]


def _store_constant(graph: ir.Graph, tensor: str, bias: QuantizedBias) -> None:
    """Read constant `tensor`, whose channels come last, back from integers."""
    shape = graph.initializers[tensor].const_value.shape.numpy()  # type: ignore[union-attr]
    integers = add_initializer(graph, f"{tensor}_quantized", bias.integers.reshape(shape))
    axis = bias_axis(bias.scale, len(shape) - 1)
    _read_instead(graph, tensor, dequantize_node(graph, tensor, integers, bias.scale, None, axis))


def _read_instead(graph: ir.Graph, tensor: str, dequantized: ir.Value) -> None:
    """Let the readers of constant `tensor` read what is dequantized; the floats go unless the model gives them away."""
    original = graph.initializers[tensor]
    mark_quantized(_producer(dequantized), tensor)
    for user, index in tuple(original.uses()):
        user.replace_input_with(index, dequantized)
    if not original.is_graph_output():
        del graph.initializers[tensor]


def _values(graph: ir.Graph) -> dict[str, ir.Value]:
    values = {str(value.name): value for value in graph.inputs}
    values.update({str(value.name): value for node in graph for value in node.outputs if value.name})
    return values


def _quantize_activation(
    model: ir.Model,
    value: ir.Value,
    quantizer: ActivationQuantizer | DynamicQuantizer,
    readers: tuple[str, ...] | None,
) -> None:
    """Send `readers` (None: everyone who reads `value`) to what comes out of its quantizer; a graph output keeps its name."""
    graph, name = model.graph, str(value.name)
    uses = tuple(use for use in value.uses() if readers is None or use.node.name in readers)
    if isinstance(quantizer, DynamicQuantizer):
        nodes = [dynamic_quantizer_node(model, value, quantizer)]
    else:
        nodes = _quantizer_nodes(graph, value, quantizer)
    result = nodes[-1].outputs[0]
    result.name = fresh_name(graph, f"{name}_dequantized")
    result.type, result.shape = value.type, value.shape
    mark_quantized(nodes[-1], name)
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], nodes)
    else:
        graph.insert_after(producer, nodes)
    for user, index in uses:
        user.replace_input_with(index, result)
    for position, output in enumerate(graph.outputs):
        if output is value and readers is None:
            take_name(graph, result, value, f"{name}_float")
            graph.outputs[position] = result


def _quantizer_nodes(graph: ir.Graph, value: ir.Value, quantizer: ActivationQuantizer) -> list[ir.Node]:
    """Q, DQ, and a Clip where the container has more levels than the quantizer."""
    name = str(value.name)
    bytewide = quantizer.levels <= 256
    container = np.dtype(np.uint8 if bytewide else np.uint16)
    scale = add_initializer(graph, f"{name}_scale", np.array(quantizer.scale, np.float32))
    zero_point = add_initializer(graph, f"{name}_zero_point", np.array(quantizer.zero_point, container))
    quantize = ir.node(
        "QuantizeLinear", [value, scale, zero_point], name=fresh_node_name(graph, f"{name}_quantize")
    )
    nodes = [quantize]
    if quantizer.levels <= np.iinfo(container).max:
        limits = np.array([0, quantizer.levels - 1], container)
        if bytewide and not fuses_wrongly(value):
            nodes.append(clip_node(graph, name, quantize.outputs[0], limits))
        else:
            nodes.insert(0, clip_node(graph, name, value, _real_limits(quantizer)))
            quantize.replace_input_with(0, nodes[0].outputs[0])
    elif fuses_wrongly(value):
        nodes.insert(0, _ceiling(graph, name, value, _real_limits(quantizer)[1]))
        quantize.replace_input_with(0, nodes[0].outputs[0])
    quantize.outputs[0].name = fresh_name(graph, f"{name}_quantized")
    back = fresh_node_name(graph, f"{name}_dequantize")
    return [*nodes, ir.node("DequantizeLinear", [nodes[-1].outputs[0], scale, zero_point], name=back)]


def fuses_wrongly(value: ir.Value) -> bool:
    """Made by what onnxruntime fuses with its quantizers into a kernel that computes something else, or does not load.

    That of Softmax truncates; that of AveragePool knows no dilations, and divides by another count where the last window is
    rounded up and padding counts.
    """
    node = value.producer()
    if node is None or node.op_type != "AveragePool":
        return node is not None and node.op_type == "Softmax"
    attributes = node.attributes
    dilated = any(each != 1 for each in attributes.get_ints("dilations", ()) or ())
    return dilated or bool(attributes.get_int("ceil_mode", 0) and attributes.get_int("count_include_pad", 0))


def clip_node(graph: ir.Graph, name: str, value: ir.Value, limits: np.ndarray) -> ir.Node:
    """A Clip of `value` to [lowest, highest] in its own type; its names begin with `name`."""
    low = add_initializer(graph, f"{name}_lowest", limits[0])
    high = add_initializer(graph, f"{name}_highest", limits[1])
    node = ir.node("Clip", [value, low, high], name=fresh_node_name(graph, f"{name}_narrow"))
    node.outputs[0].name = fresh_name(graph, f"{name}_narrowed")
    return node


def _ceiling(graph: ir.Graph, name: str, value: ir.Value, highest: np.ndarray) -> ir.Node:
    """Min with the highest level's real value: onnxruntime's kernel for a quantized Softmax wraps what lies above to 0."""
    high = add_initializer(graph, f"{name}_highest", np.asarray(highest, np.float32))
    node = ir.node("Min", [value, high], name=fresh_node_name(graph, f"{name}_narrow"))
    node.outputs[0].name = fresh_name(graph, f"{name}_narrowed")
    return node


def _real_limits(quantizer: ActivationQuantizer) -> np.ndarray:
    """The real values of the lowest and the highest level."""
    ends = np.array([0, quantizer.levels - 1], np.float32)
    return dequantize(ends, quantizer.scale, quantizer.zero_point)
