"""Give every noisy node seeds of its own, all drawn from one seed: independent noise at each site, replayable as a whole."""

import random

import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.ops.noisy_function import DOMAIN, seed_names
from mpq_onnx.registries import EXACT, NOISE_DRAWS

LARGEST_SEED = 2**24
"""Exclusive: seeds are float attributes, whose whole numbers end here."""


class ReseedNoisePass(ir.passes.InPlacePass):
    """Set the seeds of all noisy nodes; the same seed gives the same noise in a new session."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = noisy_nodes(model)
        # Those that all ways of drawing have come first, so that they are the same whatever the way.
        common = seed_names(EXACT)
        wanted = [(node, name) for node in nodes for name in common]
        wanted += [
            (node, name) for node in nodes for name in seed_names(draws_of(node)) if name not in common
        ]
        seeds = random.Random(self.seed).sample(range(1, LARGEST_SEED), len(wanted))
        for (node, name), seed in zip(wanted, seeds, strict=True):
            node.attributes.add(ir.AttrFloat32(name, float(seed)))
        return ir.passes.PassResult(model, modified=bool(nodes))


def draws_of(noisy: ir.Node) -> str:
    """Where a noisy node's normals come from, a name in NOISE_DRAWS; files of earlier versions do not say that they are exact.

    Raises:
        ModelError: a way that is none.
    """
    attribute = noisy.attributes.get("noise_draws")
    if attribute is None:
        return EXACT
    if attribute.type != ir.AttributeType.STRING or attribute.value not in NOISE_DRAWS:
        raise ModelError(
            f"noisy node {noisy.name}: noise_draws {attribute.value!r} is none of {', '.join(NOISE_DRAWS)}"
        )
    return attribute.as_string()


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
