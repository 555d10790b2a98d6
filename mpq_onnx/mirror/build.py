"""ONNX -> torch.fx, node by node."""

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import fx

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.chance import ADVICE, draws
from mpq_onnx.graph.mirrored import refused_attribute, unmirrored_nodes
from mpq_onnx.graph.post_processing import post_processing
from mpq_onnx.graph.quantizers import read_quantizer
from mpq_onnx.mirror.dtypes import torch_dtype, widened
from mpq_onnx.mirror.ops import OP_TABLE
from mpq_onnx.mirror.ops.pooling import max_pool
from mpq_onnx.passes.unroll_loops import is_loop, why_it_stays

SEVERAL_OUTPUTS = frozenset({"Split", "Dropout", "LayerNormalization", "TopK", "LSTM", "GRU", "RNN"})
"""Ops whose mirror function returns a tuple even where the node uses one output."""
QUANTIZER = "quantizer"
"""Key in the meta of a DequantizeLinear: its graph.quantizers.Quantizer."""
HOME = "home"
"""Name of a buffer of no elements: it lies where the mirror does, also where that has no other tensors."""


@dataclass
class Mirror:
    """A mirrored graph and the way from ONNX names to fx nodes."""

    module: fx.GraphModule
    """Takes the model's inputs in order, returns the tuple of `outputs`. Float initializers are Parameters, which share the
    model's memory where they can."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    """See graph.post_processing.PostProcessing.mirrored_outputs: the model's own where nothing comes behind the network."""
    values: dict[str, fx.Node]
    """The fx node of every ONNX tensor, initializers included."""

    @property
    def device(self) -> torch.device:
        """Where its tensors are, and its inputs have to be."""
        return self.module.get_buffer(HOME).device

    def parameter(self, tensor: str) -> torch.nn.Parameter:
        """The Parameter that holds initializer `tensor`."""
        return self.module.get_parameter(str(self.values[tensor].target))

    def run(self, feeds: Mapping[str, np.ndarray], device: torch.device) -> tuple[torch.Tensor, ...]:
        """The model's outputs for numpy inputs by name."""
        # forward, not __call__: GraphModule.__call__ prints a traceback of its own when an op fails.
        return self.module.forward(*(torch.from_numpy(feeds[name]).to(device) for name in self.inputs))


def build_mirror(model: ir.Model, where: str = "the model") -> Mirror:
    """Mirror `model` as far as its post-processing.

    fx nodes carry the ONNX node's name in meta["onnx_name"], those of quantizers theirs under QUANTIZER.

    Any legal name of a value or node will do: what fx and torch see are names of ours, and Mirror.values knows which is which.

    Args:
        model: any ONNX model, best a canonical one.
        where: names the file in errors.

    Raises:
        ModelError: an op or an attribute that the mirror does not know; names op, node and file.
    """
    return _Builder(model, where).build()


def frozen_mirror(model: ir.Model, where: str, device: torch.device) -> Mirror:
    """The same on `device`, with weights that are not trained."""
    mirror = build_mirror(model, where)
    mirror.module.requires_grad_(False).to(device)
    return mirror


def _remedy(graph: ir.Graph, node: ir.Node) -> str:
    """What to do about a node that the op table lacks."""
    if is_loop(node):
        return f"{why_it_stays(graph, node)}; docs/operators.md lists the supported ops"
    if any(
        each.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for each in node.attributes.values()
    ):
        return (
            "where an input or an open length decides what it does, `mpq-onnx export --set NAME=VALUE` fixes that and"
            " folds it away; docs/operators.md lists the supported ops"
        )
    if draws(node):
        return f"it draws random numbers: {ADVICE}"
    return "docs/operators.md lists the supported ops"


class _Builder:
    def __init__(self, model: ir.Model, where: str) -> None:
        self.model = model
        self.where = where
        self.root = torch.nn.Module()
        self.graph = fx.Graph()
        self.values: dict[str, fx.Node] = {}
        self.constants = 0

    def build(self) -> Mirror:
        behind = post_processing(self.model)
        missing = [node for node in unmirrored_nodes(self.model) if node not in behind.nodes]
        if missing:
            node = missing[0]
            refused = refused_attribute(node)
            limit = f" with {refused}" if refused else ""
            raise ModelError(
                f"{self.where}: op {node.op_type}{limit} (domain {node.domain or 'ai.onnx'}) of node {node.name} has no"
                f" torch mirror; {_remedy(self.model.graph, node)}"
            )
        graph = self.model.graph
        inputs = [value for value in graph.inputs if value.name not in graph.initializers]
        for value in inputs:
            # fx writes an input's name into code as it is: two that are cleaned to the same must differ.
            self.values[str(value.name)] = self.graph.placeholder(
                f"input_{len(self.values)}_{_cleaned(str(value.name))}"
            )
        for name, value in graph.initializers.items():
            assert value.const_value is not None
            self.values[name] = self._constant(name, widened(value))
        for node in graph:
            if node not in behind.nodes:
                self._node(node)
        outputs = behind.mirrored_outputs
        self.graph.output(tuple(self.values[name] for name in outputs))
        module = fx.GraphModule(self.root, self.graph, "Mirror")
        module.register_buffer(HOME, torch.zeros(0), persistent=False)
        module.eval()
        return Mirror(module, tuple(str(value.name) for value in inputs), outputs, self.values)

    def _node(self, node: ir.Node) -> None:
        if node.op_type == "Constant":
            self.values[str(node.outputs[0].name)] = self._constant_node(node)
            return
        arguments = tuple(self.values[str(v.name)] if v is not None and v.name else None for v in node.inputs)
        while arguments and arguments[-1] is None:
            arguments = arguments[:-1]
        attributes: dict[str, Any] = {
            name: self._attribute(node, attribute) for name, attribute in node.attributes.items()
        }
        if node.op_type == "Split" and len(arguments) == 1:
            attributes.setdefault("num_outputs", len(node.outputs))
        function = OP_TABLE[node.op_type]
        used = [
            output for output in node.outputs if output.name and (output.uses() or output.is_graph_output())
        ]
        if node.op_type == "MaxPool" and any(output is not node.outputs[0] for output in used):
            function = max_pool
        result = self.graph.create_node(
            "call_function",
            function,
            arguments,
            attributes,
            f"node_{_cleaned(str(node.name or node.op_type))}",
        )
        result.meta["onnx_name"] = node.name
        result.meta["onnx_op"] = node.op_type
        if node.op_type == "DequantizeLinear":
            result.meta[QUANTIZER] = read_quantizer(node)
        several = node.op_type in SEVERAL_OUTPUTS or function is not OP_TABLE[node.op_type]
        for index, output in enumerate(node.outputs):
            if output.name:
                self.values[output.name] = (
                    self.graph.call_function(operator.getitem, (result, index)) if several else result
                )
                if not several and index > 0 and output in used:
                    raise ModelError(
                        f"{self.where}: output {index} of op {node.op_type} (node {node.name}) has no torch mirror"
                    )

    def _attribute(self, node: ir.Node, attribute: ir.Attr) -> object:
        if attribute.type == ir.AttributeType.TENSOR:
            return self._constant(f"{node.name}.{attribute.name}", attribute.as_tensor())
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            raise ModelError(
                f"{self.where}: node {node.name} ({node.op_type}) has a subgraph, which has no mirror"
            )
        value = attribute.value
        return list(value) if isinstance(value, tuple | list) else value

    def _constant_node(self, node: ir.Node) -> fx.Node:
        (attribute,) = node.attributes.values()
        if attribute.type == ir.AttributeType.TENSOR:
            return self._constant(str(node.outputs[0].name), attribute.as_tensor())
        dtype = {
            "value_float": np.float32,
            "value_floats": np.float32,
            "value_int": np.int64,
            "value_ints": np.int64,
        }
        if attribute.name not in dtype:
            raise ModelError(
                f"{self.where}: Constant node {node.name} with {attribute.name} has no torch mirror"
            )
        return self._constant(
            str(node.outputs[0].name), ir.tensor(np.array(attribute.value, dtype[attribute.name]))
        )

    def _constant(self, name: str, tensor: ir.TensorProtocol) -> fx.Node:
        self.constants += 1
        attribute = f"constant_{self.constants}_{_cleaned(name)}"
        try:
            dtype = torch_dtype(tensor.dtype)
        except NotImplementedError as error:
            raise ModelError(f"{self.where}: constant {name}: {error}") from error
        if dtype is torch.bfloat16:
            array = torch.from_numpy(tensor.numpy().view(np.int16).copy()).view(torch.bfloat16)
        else:
            array = torch.from_numpy(_writable(tensor.numpy()))
        if dtype.is_floating_point:
            self.root.register_parameter(attribute, torch.nn.Parameter(array))
        else:
            self.root.register_buffer(attribute, array)
        return self.graph.get_attr(attribute)


def _writable(array: np.ndarray) -> np.ndarray:
    """`array` itself where torch can read it as it lies, else a copy."""
    flags = array.flags
    return array if flags.writeable and flags.c_contiguous and flags.aligned else np.array(array, copy=True)


def _cleaned(name: str) -> str:
    """What of `name` may stand behind a prefix of ours in an identifier.

    Without the prefix it could be a keyword, `self`, or an attribute that every module has. Letters beyond ASCII go: Python
    takes some of them for others.
    """
    return re.sub(r"\W", "_", name, flags=re.ASCII)
