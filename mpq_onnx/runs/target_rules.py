"""A target over the model of a run: the sites that it leaves, and the check of what was found."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.errors import MpqOnnxError, UsageError
from mpq_onnx.graph.mac import macs_of
from mpq_onnx.graph.placement import Restriction, Said, Sites
from mpq_onnx.precision.joint_program import PairRule
from mpq_onnx.runs.options import AllocateOptions
from mpq_onnx.targets.conformance import allocation_faults, faults_text
from mpq_onnx.targets.description import FLOAT_WIDTH, Target
from mpq_onnx.targets.requirements import Common, Requirements


@dataclass(frozen=True)
class TargetRules:
    """What holds for an allocation; without a target everything does."""

    required: Requirements | None
    common: Common

    @property
    def restriction(self) -> Restriction | None:
        """For find_sites."""
        if self.required is None:
            return None
        required = self.required

        def restrict(sites: Sites, said: Said) -> tuple[Sites, Said]:
            return required.restrict(sites, said, self.common)

        return restrict

    def pair_rules(self, sites: Sites) -> tuple[PairRule, ...]:
        """Widths of tensors that may both be chosen, where not all go together."""
        if self.required is None:
            return ()
        chosen = {site.tensor: site.choices or self.common.weight_choices for site in sites.free_weights}
        chosen |= {
            site.tensor: site.choices or self.common.activation_choices for site in sites.free_activations
        }
        return tuple(
            PairRule((each.held, each.streamed), each.allows)
            for each in self.required.meetings(sites)
            if each.held in chosen
            and each.streamed in chosen
            and each.held != each.streamed
            and not all(
                each.allows(held, streamed)
                for held in chosen[each.held]
                for streamed in chosen[each.streamed]
            )
        )

    def faults(self, sites: Sites, allocation: Allocation) -> str:
        """What the device does not take of an allocation, in one line; empty where it takes all."""
        return (
            "" if self.required is None else faults_text(allocation_faults(self.required, sites, allocation))
        )

    def check(
        self, sites: Sites, allocation: Allocation, where: str, refusal: type[MpqOnnxError] = UsageError
    ) -> None:
        """Raise `refusal` for an allocation that the device does not take, naming nodes and lines."""
        faults = self.faults(sites, allocation)
        if faults and self.required is not None:
            raise refusal(f"{where}: target {self.required.target.name} does not take {faults}")


def rules_for(
    model: ir.Model,
    options: AllocateOptions,
    quantizes_weights: bool = True,
    quantizes_activations: bool = True,
) -> TargetRules:
    """Of an allocation to be made for a float model."""
    common = Common(
        tuple(options.bit_choices),
        tuple(options.activation_choices),
        options.weight_scheme,
        options.weight_scales,
        quantizes_weights,
        quantizes_activations,
    )
    return TargetRules(_required(options.device_target, model), common)


def rules_of(model: ir.Model, allocation: Allocation, target: Target | None) -> TargetRules:
    """Of an allocation that was made."""
    settings = allocation.settings
    weights = {
        float(width)
        for node in allocation.nodes
        if node.weight_bits is not None
        for width in np.atleast_1d(node.weight_bits)
    }
    activations = {
        float(node.activation_bits) for node in allocation.nodes if node.activation_bits is not None
    }
    common = Common(
        tuple(sorted(weights)),
        tuple(sorted(activations)),
        settings.weight_scheme,
        settings.weight_scales,
        bool(weights),
        bool(activations),
    )
    return TargetRules(_required(target, model), common)


def check_takes_float(target: Target | None, model: ir.Model, where: str) -> None:
    """Raise UsageError where the device multiplies no floats, and the network is one of floats."""
    if target is None:
        return
    required = Requirements(target, model)
    for mac in macs_of(model.graph):
        node = str(mac.node.name)
        for side in ("weights", "inputs"):
            said = required.said(node, side, "bits")
            if said is not None and not said.allows(FLOAT_WIDTH):
                raise UsageError(
                    f"{where}: node {node}: target {target.name} takes no float {side}: {said}; give --weight-bits and"
                    " --activation-bits to quantize it first, or the quantized file"
                )


def _required(target: Target | None, model: ir.Model) -> Requirements | None:
    return None if target is None else Requirements(target, model)
