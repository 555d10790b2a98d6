"""Rounding "block": layer by layer first, then block by block (arXiv 2102.05426, 2203.05740).

After adaptive rounding, the blocks of the graph are learned in order, each on the outputs of those before it: weights go to
floor or ceiling so that the outputs of a block, rather than of a layer, come near those of the float network. A block whose
error on held-out examples is not lowered stays as it was, and so does the network if its own error is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_onnx.arithmetic.weights import QuantizedWeight
from mpq_onnx.graph.placement import WeightSite
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.quantized import FixedQuantizer
from mpq_onnx.progress import watched
from mpq_onnx.rounding.adaptive import AdaptiveRounding
from mpq_onnx.rounding.block_module import BlockModule, block_module
from mpq_onnx.rounding.block_streams import BlockStreams, Passing
from mpq_onnx.rounding.blocks import Block, cut_into_blocks, whole_graph
from mpq_onnx.rounding.dropped_quantizer import DroppedQuantizer
from mpq_onnx.rounding.reconstruction import Example, Values, learn, output_errors, relative_error
from mpq_onnx.rounding.result import RoundingResult
from mpq_onnx.rounding.soft_weight import SoftWeight

HELD_OUT = 8
"""One batch in so many judges, and is not learned from."""
FINE_LEVELS = 128
"""Where all weights and activations have so many levels, nothing is left to be learned."""


class BlockRounding(AdaptiveRounding):
    refines = True
    batch_size = 32
    """Of a step of learning."""

    @torch.enable_grad()
    def refined(
        self,
        rounded: RoundingResult,
        quantized: Mirror,
        sites: Sequence[WeightSite],
        batches: Sequence[Sequence[Tensor]],
    ) -> RoundingResult:
        """See RoundingMethod."""
        network = _Network(quantized, sites, rounded)
        blocks = cut_into_blocks(quantized.module.graph, network.weights)
        streams = BlockStreams(quantized, blocks, batches)
        for block in watched(blocks, "reconstruct blocks", unit="block"):
            streams.go_on(block, _Part(network, block).outputs(streams.inputs(block)))
        whole = whole_graph(quantized.module.graph)
        judges = BlockStreams(quantized, [whole], batches[-_held_out(batches) :]).inputs(whole)
        before = _Part(_Network(quantized, sites, rounded), whole).errors(judges)
        after = _Part(network, whole).errors(judges)
        relative = sum(new / old for new, old in zip(after, before, strict=True) if old > 0)
        return network.result if relative < sum(old > 0 for old in before) else rounded


BLOCK = BlockRounding()


class _Network:
    """The rounded network that blocks are parts of; its result changes block by block."""

    def __init__(self, quantized: Mirror, sites: Sequence[WeightSite], rounded: RoundingResult) -> None:
        self.quantized = quantized
        self.result = rounded.copy()
        self.learned: dict[str, nn.Module] = {}
        """Quantizers of learned steps."""
        rounded_sites = [site.tensor for site in sites if site.tensor in rounded.weights]
        self.weights = {quantized.values[tensor]: tensor for tensor in rounded_sites}
        self.constants = {quantized.values[tensor]: tensor for tensor in rounded.constants}
        self.generator = torch.Generator(device=quantized.device).manual_seed(0)

    def exact(self, constant: fx.Node) -> Tensor:
        """The value of a constant in the float network."""
        return getattr(self.quantized.module, str(constant.target)).detach()  # type: ignore[no-any-return]

    def value(self, constant: fx.Node) -> Tensor:
        """The value of a constant in the quantized network."""
        if constant in self.weights:
            return self._tensor(self.result.weights[self.weights[constant]].dequantized())
        if constant in self.constants:
            return self._tensor(self.result.constants[self.constants[constant]])
        return self.exact(constant)

    def bias(self, node: fx.Node) -> Tensor:
        """The corrected bias of a node."""
        return self._tensor(self.result.biases[node.meta["onnx_name"]])

    def quantizer(self, name: str) -> nn.Module:
        """The quantizer of an activation, by its module's name."""
        return self.learned.get(name) or self.quantized.module.get_submodule(name)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.quantized.device)


@dataclass(frozen=True)
class _Learned:
    """What a block might change."""

    integers: list[Tensor]
    shifts: list[Tensor]
    quantizers: Mapping[str, FixedQuantizer]
    outputs: list[Values]


class _Part:
    """One block, and what of it is learned."""

    def __init__(self, network: _Network, block: Block) -> None:
        self.network, self.block = network, block
        inside = set(block.nodes)
        # A weight that another block reads as well stays as it is.
        self.weights = [node for node in network.weights if node.users and set(node.users) <= inside]
        self.constants = [node for node in network.constants if set(node.users) <= inside]
        self.biased = [node for node in block.nodes if node.meta.get("onnx_name") in network.result.biases]
        self.quantizers = {
            str(node.target): str(node.meta["quantizer_of"])
            for node in block.nodes
            if node.op == "call_module"
        }
        """The tensors of the quantizers, by their modules' names."""

    def outputs(self, inputs: Sequence[Passing]) -> list[Passing]:
        """Learn the block; its outputs for every batch."""
        examples = self._examples(inputs)
        before = self._run(self._module({}), examples, self._given())
        units = _mean_errors(examples, before)
        found = before
        if self.weights and any(unit > 0 for unit in units) and self._is_coarse():
            held_out = _held_out(examples)
            judges = slice(len(examples) - held_out, None)
            learned = self._learned(examples, examples[:-held_out] or examples, units)
            old, new = (
                sum(
                    float(relative_error(ours, each.wanted, units))
                    for ours, each in zip(outputs[judges], examples[judges], strict=True)
                )
                for outputs in (before, learned.outputs)
            )
            if new < old:
                self._keep(learned)
                found = learned.outputs
        return [Passing(each.wanted, ours) for each, ours in zip(examples, found, strict=True)]

    def errors(self, inputs: Sequence[Passing]) -> list[float]:
        """Mean squared error of every output, as the block is."""
        examples = self._examples(inputs)
        return _mean_errors(examples, self._run(self._module({}), examples, self._given()))

    @torch.no_grad()
    def _examples(self, inputs: Sequence[Passing]) -> list[Example]:
        exact = block_module(self.block, self.network.exact, lambda name: None)
        return [Example(each.exact, each.quantized, exact(each.exact, [])) for each in inputs]

    def _given(self) -> list[Tensor]:
        """What varies, as it is."""
        return [*map(self.network.value, self.weights), *self._shifts()]

    def _learned(
        self, examples: Sequence[Example], training: Sequence[Example], units: Sequence[float]
    ) -> _Learned:
        network = self.network
        dropped = {
            name: DroppedQuantizer(quantizer, network.generator)
            for name in self.quantizers
            if isinstance(quantizer := network.quantizer(name), FixedQuantizer) and quantizer.levels > 1
        }
        weights = [
            SoftWeight(network.exact(node), network.result.weights[network.weights[node]])
            for node in self.weights
        ]
        shifts = learn(self._module(dropped), weights, self._shifts(), training, units, network.generator)
        quantizers = {name: each.fixed() for name, each in dropped.items()}
        integers = [each.integers() for each in weights]
        values = [(q - each.zero_point) * each.scale for q, each in zip(integers, weights, strict=True)]
        outputs = self._run(self._module(quantizers), examples, [*values, *shifts])
        return _Learned(integers, shifts, quantizers, outputs)

    def _keep(self, learned: _Learned) -> None:
        result = self.network.result
        for node, integers in zip(self.weights, learned.integers, strict=True):
            tensor = self.network.weights[node]
            rounded = result.weights[tensor]
            result.weights[tensor] = QuantizedWeight.of(
                integers.cpu().numpy(), rounded.grid, rounded.channel_axis
            )
        shifts = [each.cpu().numpy() for each in learned.shifts]
        for node, shift in zip(self.constants, shifts, strict=False):
            result.constants[self.network.constants[node]] = shift
        for node, shift in zip(self.biased, shifts[len(self.constants) :], strict=True):
            result.biases[node.meta["onnx_name"]] = shift
        self.network.learned.update(learned.quantizers)
        for name, quantizer in learned.quantizers.items():
            result.steps[self.quantizers[name]] = np.float32(quantizer.scale.item())

    def _module(self, quantizers: Mapping[str, nn.Module]) -> BlockModule:
        """The quantized block, with some quantizers in place of the network's."""

        def quantizer(name: str) -> nn.Module:
            return quantizers.get(name) or self.network.quantizer(name)

        varying = [*self.weights, *self.constants]
        return block_module(self.block, self.network.value, quantizer, varying, self.biased)

    def _shifts(self) -> list[Tensor]:
        """Of the quantized network: constants that stand for a bias, and biases."""
        return [*map(self.network.value, self.constants), *map(self.network.bias, self.biased)]

    def _is_coarse(self) -> bool:
        levels = [
            *(
                self.network.result.weights[self.network.weights[node]].grid.levels.min()
                for node in self.weights
            ),
            *(getattr(self.network.quantizer(name), "levels", FINE_LEVELS) for name in self.quantizers),
        ]
        return min(levels) < FINE_LEVELS

    @torch.no_grad()
    def _run(self, module: BlockModule, examples: Sequence[Example], given: Sequence[Tensor]) -> list[Values]:
        return [module(each.quantized, given) for each in examples]


def _mean_errors(examples: Sequence[Example], outputs: Sequence[Values]) -> list[float]:
    """Mean squared error of every output of a block, over all batches."""
    by_batch = [
        [float(error) for error in output_errors(ours, each.wanted)]
        for ours, each in zip(outputs, examples, strict=True)
    ]
    return [sum(errors) / len(by_batch) for errors in zip(*by_batch, strict=True)]


def _held_out(batches: Sequence[object]) -> int:
    """How many of the last batches judge."""
    return max(len(batches) // HELD_OUT, 1)
