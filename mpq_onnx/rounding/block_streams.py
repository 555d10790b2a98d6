"""What passes from block to block: the values of the float network and of the quantized one, batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from mpq_onnx.mirror.build import Mirror
from mpq_onnx.rounding.blocks import Block


@dataclass(frozen=True)
class Passing:
    """Values of one batch, in the order of a block's inputs or outputs."""

    exact: tuple[Any, ...]
    """In the float network."""
    quantized: tuple[Any, ...]
    """In the quantized network; the very same tensor where no quantizer comes before."""


class BlockStreams:
    """The values at the border of the blocks that are done; dropped after the last block that reads them."""

    def __init__(self, mirror: Mirror, blocks: Sequence[Block], batches: Sequence[Sequence[Tensor]]) -> None:
        """Args: batches: the model's inputs in order, for every batch."""
        inputs = [node for node in mirror.module.graph.nodes if node.op == "placeholder"]
        self.exact: list[dict[fx.Node, Any]] = [dict(zip(inputs, batch, strict=True)) for batch in batches]
        self.quantized = [dict(values) for values in self.exact]
        self.last_reader = {node: block for block in blocks for node in block.inputs}

    def inputs(self, block: Block) -> list[Passing]:
        """What `block` reads, for every batch."""
        return [
            Passing(tuple(a[node] for node in block.inputs), tuple(b[node] for node in block.inputs))
            for a, b in zip(self.exact, self.quantized, strict=True)
        ]

    def go_on(self, block: Block, outputs: Sequence[Passing]) -> None:
        """Take the outputs of `block`, and drop what only it read."""
        for a, b, made in zip(self.exact, self.quantized, outputs, strict=True):
            for values, found in ((a, made.exact), (b, made.quantized)):
                values.update(zip(block.outputs, found, strict=True))
                for node in (*block.inputs, *block.outputs):
                    if self.last_reader.get(node, block) is block:
                        values.pop(node, None)
