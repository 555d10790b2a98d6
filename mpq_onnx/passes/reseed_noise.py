"""Give every noisy node seeds of its own, all drawn from one seed: independent noise at each site, replayable as a whole."""

import random

import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.ops.noisy_function import DOMAIN

LARGEST_SEED = 2**24
"""Exclusive: seeds are float attributes, whose whole numbers end here."""
SEEDS = ("seed", "weight_seed")


class ReseedNoisePass(ir.passes.InPlacePass):
    """Set the seeds of all noisy nodes; the same seed gives the same noise in a new session."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = noisy_nodes(model)
        seeds = iter(random.Random(self.seed).sample(range(1, LARGEST_SEED), len(SEEDS) * len(nodes)))
        for node in nodes:
            for name in SEEDS:
                node.attributes.add(ir.AttrFloat32(name, float(next(seeds))))
        return ir.passes.PassResult(model, modified=bool(nodes))


def noisy_nodes(model: ir.Model) -> list[ir.Node]:
    """The noisy multiply-accumulate nodes of the graph.

    Raises:
        ModelError: one that does not say which noise it has.
    """
    nodes = [node for node in model.graph if node.domain == DOMAIN]
    for node in nodes:
        for name, kind in (("noise", ir.AttributeType.STRINGS), ("energy_per_mac", ir.AttributeType.FLOATS)):
            attribute = node.attributes.get(name)
            if attribute is None or attribute.type != kind or not attribute.value:
                raise ModelError(
                    f"noisy node {node.name}: attribute {name} is missing or no list of {kind.name.lower()}"
                )
    return nodes
