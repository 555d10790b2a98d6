"""The quantizers of a graph that others can express: constant, the same at both ends, no blocks. What hand-off needs."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.mac import BIAS_INPUT, CONVOLUTIONS, is_stored
from mpq_onnx.graph.operators import DYNAMIC_DOMAIN
from mpq_onnx.graph.quantizers import Ends, Quantizer, is_linear, read_quantizer


class ActivationChain(Quantizer):
    """The quantizer of an activation."""

    quantize: ir.Node
    dequantize: ir.Node
    source: ir.Value
    result: ir.Value
    dtype: ir.DataType
    ends: Ends
    scale: np.ndarray
    zero_point: np.ndarray

    @property
    def node(self) -> str:
        """Name of the node whose output is quantized, or of the model's input."""
        producer = self.source.producer()
        return str(self.source.name if producer is None else producer.name)

    @property
    def levels(self) -> int:
        return self.ends[1] - self.ends[0] + 1


class WeightChain(Quantizer):
    """A weight, bias or embedding table that is stored as integers."""

    dequantize: ir.Node
    integers: ir.Value
    result: ir.Value
    dtype: ir.DataType
    scale: np.ndarray
    zero_point: np.ndarray

    @property
    def node(self) -> str:
        """Name of a node that reads it."""
        return next((str(use.node.name) for use in self.result.uses()), str(self.result.name))

    @property
    def channel_axis(self) -> int | None:
        """None for one scale."""
        return self.axis if self.scale.size > 1 else None

    @property
    def is_bias(self) -> bool:
        """Read as a bias alone, whatever its type."""
        uses = list(self.result.uses())
        return self.dtype == ir.DataType.INT32 or (
            bool(uses) and all(_is_added_to_products(use.node, use.idx) for use in uses)
        )


def _is_added_to_products(node: ir.Node, index: int) -> bool:
    """Input `index` of `node` is a bias, or what an Add behind a product has in its place."""
    if node.op_type in (*CONVOLUTIONS, "Gemm"):
        return index == BIAS_INPUT
    if node.op_type != "Add":
        return False
    other = node.inputs[1 - index]
    producer = None if other is None else other.producer()
    return producer is not None and producer.op_type in ("MatMul", "Einsum")


@dataclass(frozen=True)
class Chains:
    """All quantizers of a graph."""

    activations: tuple[ActivationChain, ...]
    weights: tuple[WeightChain, ...]
    others: tuple[ir.Node, ...]
    """Quantizing nodes that follow neither pattern: dynamic ranges, blocks, integers that something else reads."""


def quantizer_chains(model: ir.Model) -> Chains:
    """Find them, in graph order."""
    activations: list[ActivationChain] = []
    weights: list[WeightChain] = []
    others: list[ir.Node] = []
    for node in model.graph:
        if node.domain == DYNAMIC_DOMAIN or node.op_type == "DynamicQuantizeLinear":
            others.append(node)
        found = read_quantizer(node) if node.op_type == "DequantizeLinear" else None
        if found is None:
            continue
        if _is_stored_weight(found):
            weights.append(WeightChain(**vars(found)))
        elif _is_static(found):
            activations.append(ActivationChain(**vars(found)))
        else:
            others.append(node)
    read = {chain.quantize for chain in activations}
    quantizing = (node for node in model.graph if node.op_type == "QuantizeLinear" and is_linear(node))
    others += [node for node in quantizing if node not in read]
    return Chains(tuple(activations), tuple(weights), tuple(others))


def _is_stored_weight(found: Quantizer) -> bool:
    known = (found.integers, found.scale, found.zero_point, found.dtype)
    if found.integers is None or any(each is None for each in known) or found.block_size:
        return False
    return is_stored(found.integers)


def _is_static(found: Quantizer) -> bool:
    """Constant, the same at both ends, within its type."""
    ends, of_type = found.ends, found.type_ends
    if ends is None or of_type is None or found.source is None or not found.ends_agree or found.block_size:
        return False
    return of_type[0] <= ends[0] <= ends[1] <= of_type[1]
