"""Turn multiply-accumulate nodes into noisy ones: the same node, under the name of a noisy function, and what the noise needs.

The project's other passes work on the noisy graph too; RemoveNoisePass gives the graph back as it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.noise.units import energy_unit
from mpq_onnx.graph.placement.mac_sites import MacSite
from mpq_onnx.ops.noisy_function import DOMAIN, VERSION, noisy_function
from mpq_onnx.passes.reseed_noise import ReseedNoisePass
from mpq_onnx.registries import BANK, NOISE_MODELS


@dataclass(frozen=True)
class NodeNoise:
    """The noise of one node."""

    site: MacSite
    energy_per_mac: np.ndarray
    """float64 [1] or [channels]."""


class InsertNoisePass(ir.passes.InPlacePass):
    """Add the noise of `noises` (names in NOISE_MODELS) to the nodes in `nodes`, by node name."""

    def __init__(
        self, nodes: Mapping[str, NodeNoise], noises: Sequence[str], seed: int, draws: str = BANK
    ) -> None:
        """Args: draws: where normals come from, a name in NOISE_DRAWS."""
        super().__init__()
        self.nodes, self.draws = nodes, draws
        self.noises = [name for name in NOISE_MODELS if name in noises]
        self.seed = seed

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        functions: dict[str, ir.Function] = {}
        for node in model.graph:
            noise = self.nodes.get(str(node.name))
            if noise is None:
                continue
            if node.op_type not in functions:
                functions[node.op_type] = noisy_function(node.op_type, self.noises, self.draws)
            function = functions[node.op_type]
            for attribute in self._attributes(noise):
                node.attributes.add(attribute)
            node.domain, node.op_type = DOMAIN, function.name
            model.functions[function.identifier()] = function
        if functions:
            model.graph.opset_imports[DOMAIN] = VERSION
        ReseedNoisePass(self.seed)(model)
        return ir.passes.PassResult(model, modified=bool(functions))

    def _attributes(self, noise: NodeNoise) -> list[ir.Attr]:
        site = noise.site
        attributes = [
            ir.AttrStrings("noise", self.noises),
            ir.AttrString("noise_draws", self.draws),
            ir.AttrString("energy_unit", energy_unit(self.noises)),
            ir.AttrFloat32s("energy_per_mac", noise.energy_per_mac.tolist()),
            ir.AttrFloat32("fan_in", float(site.fan_in)),
        ]
        if site.weight_range is not None:
            attributes.append(ir.AttrFloat32s("weight_range", list(site.weight_range)))
        if site.input_range is not None:
            attributes.append(ir.AttrFloat32("input_range", site.input_range))
        return attributes
