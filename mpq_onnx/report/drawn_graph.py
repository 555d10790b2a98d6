"""A graph as a picture shows it: a box an operator, with its quantizers, activation function and views folded in.

All is read from the graph, whoever wrote it; an allocation in the metadata says how many bits a weight has of its container.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.errors import ModelError
from mpq_onnx.graph.operators import DYNAMIC_DOMAIN, SHAPE_READERS, is_constant, is_pass_through
from mpq_onnx.graph.placement.graph_roles import ACTIVATION_FUNCTIONS, FUSING_PRODUCERS
from mpq_onnx.graph.quantized_already import QDQ_OPS
from mpq_onnx.graph.quantizers import read_quantizer
from mpq_onnx.passes.remove_noise import without_noise
from mpq_onnx.passes.reseed_noise import noisy_nodes
from mpq_onnx.report.graph_facts import graph_facts

VIEWS = frozenset(
    {"Cast", "CastLike", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
INPUT, OUTPUT = "input", "output"


@dataclass
class Box:
    """An operator, or an input or output of the model."""

    name: str
    kind: str
    """Its type, with that of an activation function behind it."""
    weight_bits: float | None = None
    output_bits: float | None = None
    """Of its quantizer, or of the one whose values it passes on; None where the output stays float."""
    energy: float | None = None
    """Per MAC, mean over channels."""
    macs: int | None = None
    members: list[str] = field(default_factory=list)
    """Names of the nodes folded in."""


@dataclass(frozen=True)
class DrawnGraph:
    """Boxes in graph order, and which goes into which."""

    boxes: tuple[Box, ...]
    edges: tuple[tuple[int, int], ...]
    energy_unit: str | None
    """None for a digital file."""


def drawn_graph(model: ir.Model) -> DrawnGraph:
    """The boxes of a model.

    Raises:
        ModelError: quantizers or noise that cannot be read, or nothing to draw.
        AllocationError: an allocation in the metadata that cannot be read.
    """
    noisy = noisy_nodes(model)
    energies = {
        str(node.name): float(np.mean(node.attributes["energy_per_mac"].as_floats())) for node in noisy
    }
    units = [node.attributes.get("energy_unit") for node in noisy]
    unit = next((each.as_string() for each in units if each is not None), "") if noisy else None
    builder = _Builder(without_noise(model), energies)
    if not builder.boxes:
        raise ModelError("nothing in it depends on an input: there is nothing to draw")
    return DrawnGraph(tuple(builder.boxes), tuple(dict.fromkeys(builder.edges)), unit)


class _Builder:
    """Goes through a noise-free graph once."""

    def __init__(self, model: ir.Model, energies: dict[str, float]) -> None:
        self.boxes: list[Box] = []
        self.edges: list[tuple[int, int]] = []
        self.quantized: set[int] = set()
        """Boxes with a quantizer of their own."""
        self.energies = energies
        self.weights, self.macs = _weight_bits(model), dict[str, int]()
        for layer in graph_facts(model).layers:
            if layer.macs is not None:
                self.macs[layer.node] = self.macs.get(layer.node, 0) + layer.macs
        self.made_by: dict[ir.Value, int] = {}
        """Values that depend on inputs, and the box that they come from."""
        for value in model.graph.inputs:
            if not is_constant(value):
                self._new_box(Box(str(value.name), INPUT), (), [value])
        for node in model.graph:
            self._add(node)
        for value in model.graph.outputs:
            if value in self.made_by:
                source = self.made_by[value]
                self._new_box(
                    Box(str(value.name), OUTPUT, output_bits=self.boxes[source].output_bits), [source], ()
                )

    def _new_box(self, box: Box, sources: Iterable[int], values: Iterable[ir.Value]) -> None:
        self.boxes.append(box)
        index = len(self.boxes) - 1
        self.edges += [(source, index) for source in sources]
        self.made_by |= dict.fromkeys(values, index)

    def _add(self, node: ir.Node) -> None:
        sources = [
            self.made_by[value] for value in node.inputs if value is not None and value in self.made_by
        ]
        if not sources or node.op_type in SHAPE_READERS:
            return
        if is_of_quantizer(node):
            self._read_quantizer(node, sources[0])
            self._fold(node, sources[0])
        elif node.op_type in VIEWS:
            self._fold(node, sources[0])
        elif self._is_fused_activation(node):
            box = self.boxes[sources[0]]
            box.kind += f" + {node.op_type}"
            self._fold(node, sources[0])
        else:
            name = str(node.name)
            grid = self.boxes[sources[0]].output_bits if is_pass_through(node) else None
            box = Box(
                name,
                node.op_type,
                self.weights.get(name),
                grid,
                self.energies.get(name),
                self.macs.get(name),
                [name],
            )
            self._new_box(box, dict.fromkeys(sources), node.outputs)

    def _fold(self, node: ir.Node, box: int) -> None:
        self.boxes[box].members.append(str(node.name))
        self.made_by |= dict.fromkeys(node.outputs, box)

    def _read_quantizer(self, node: ir.Node, box: int) -> None:
        """The width of the first quantizer behind a box is that of its output."""
        found = read_quantizer(node)
        ends = None if found is None else found.ends or found.type_ends
        if ends is not None and box not in self.quantized:
            self.quantized.add(box)
            self.boxes[box].output_bits = math.log2(ends[1] - ends[0] + 1)

    def _is_fused_activation(self, node: ir.Node) -> bool:
        """Right behind an operator that hardware applies it in, which nobody else reads."""
        value = node.inputs[0]
        producer = None if value is None else value.producer()
        return (
            node.op_type in ACTIVATION_FUNCTIONS
            and value is not None
            and producer is not None
            and producer.op_type in FUSING_PRODUCERS
            and len(value.uses()) == 1
            and not value.is_graph_output()
        )


def is_of_quantizer(node: ir.Node) -> bool:
    """QuantizeLinear, DequantizeLinear, a quantizer of ours, or what narrows one."""
    if node.op_type in QDQ_OPS or node.domain == DYNAMIC_DOMAIN:
        return True
    if node.op_type not in ("Clip", "Min"):
        return False
    producer = None if node.inputs[0] is None else node.inputs[0].producer()
    before = None if producer is None else producer.op_type
    readers = {use.node.op_type for use in node.outputs[0].uses()}
    return before == "QuantizeLinear" or (before == "Softmax" and readers == {"QuantizeLinear"})


def _weight_bits(model: ir.Model) -> dict[str, float]:
    """By node: what the allocation says, else the type that it is stored in; means where there are several weights."""
    allocation, facts = Allocation.embedded(model.metadata_props), graph_facts(model)
    found: dict[str, list[tuple[float, int]]] = {}
    if allocation is not None:
        for entry in allocation.nodes:
            if entry.weight is not None and entry.weight_bits is not None:
                pair = float(np.mean(entry.weight_bits)), max(entry.weight_elements, 1)
                found.setdefault(entry.node, []).append(pair)
    else:
        for layer in facts.layers:
            bits = layer.weight.bits if layer.constant and layer.weight is not None else None
            if bits:
                found.setdefault(layer.node, []).append((float(bits), max(layer.weights, 1)))
    return {
        node: sum(bits * count for bits, count in pairs) / sum(count for _, count in pairs)
        for node, pairs in found.items()
    }
