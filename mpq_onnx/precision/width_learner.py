"""Learning the widths: quantizers whose width is a parameter, on every item of the problem."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from mpq_onnx.arithmetic.quantization import SCHEMES, levels_of
from mpq_onnx.arithmetic.weights import along_axis
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.quantized import (
    LearnedDynamicQuantizer,
    LearnedQuantizer,
    LearningRules,
    WidthTable,
    activation_quantizers,
    with_quantizers,
)
from mpq_onnx.precision.problem import ACTIVATIONS, WEIGHTS, Precision
from mpq_onnx.registries import WIDTH_CHOICES

if TYPE_CHECKING:
    from mpq_onnx.precision.width_budgets import WidthSide
    from mpq_onnx.precision.widths import WidthProblem

BITS_OF = {WEIGHTS: "weight bits", ACTIVATIONS: "activation bits"}
Quantizers = dict[str, LearnedQuantizer]
"""By tensor."""


@dataclass(frozen=True)
class WidthLearner:
    """The mirror with learnable widths."""

    mirror: Mirror
    sides: Mapping[str, "WidthSide"]
    quantizers: Mapping[str, Quantizers]
    """By kind, in the order of the items."""
    generator: torch.Generator

    @property
    def modules(self) -> Quantizers:
        """All of them."""
        return {tensor: each for by_tensor in self.quantizers.values() for tensor, each in by_tensor.items()}

    @property
    def parameters(self) -> list[nn.Parameter]:
        """log2 of the widths, and logarithms of the ranges where they are learned."""
        modules = self.modules.values()
        ranges = [module.log_range for module in modules if module.log_range is not None]
        return [module.log2_bits for module in modules] + ranges

    def excess(self) -> Tensor:
        """How far the widths are above their budgets, in bits."""
        spent = [torch.relu(self._spent(kind) - side.budget) for kind, side in self.sides.items()]
        return torch.stack(spent).sum()

    def _spent(self, kind: str) -> Tensor:
        side = self.sides[kind]
        bits = torch.cat([module.bits.reshape(-1) for module in self.quantizers[kind].values()])
        shares = torch.as_tensor(
            side.measure.shares(side.items.sizes), dtype=torch.float32, device=bits.device
        )
        return (shares @ bits).max()

    def clamp_(self) -> None:
        """Keep the widths within the allowed ones."""
        for module in self.modules.values():
            module.clamp_()

    def levels(self) -> Precision:
        """Real-valued widths, float64 [items]."""
        return {
            kind: side.items.join(
                {
                    tensor: module.bits.detach().reshape(-1).cpu().double().numpy()
                    for tensor, module in self.quantizers[kind].items()
                }
            )
            for kind, side in self.sides.items()
        }

    def range_factors(self) -> dict[str, float]:
        """Learned factors on the ranges, by tensor."""
        return {
            tensor: float(module.log_range.detach().exp())
            for tensor, module in self.modules.items()
            if module.log_range is not None
        }

    @torch.no_grad()
    def set_range_factors(self, factors: Mapping[str, float]) -> None:
        """The inverse; tensors without a factor keep their ranges."""
        for tensor, module in self.modules.items():
            if module.log_range is not None and tensor in factors:
                module.log_range.fill_(float(np.log(factors[tensor])))

    def describe(self) -> str:
        """What is spent of each budget."""
        return ", ".join(f"{BITS_OF[kind]} {float(self._spent(kind).detach()):.3f}" for kind in self.sides)


def build_learner(
    problem: "WidthProblem", sides: Mapping[str, "WidthSide"], start: Precision
) -> WidthLearner:
    """Put a learnable quantizer on every item of the problem, and fixed ones on the model's inputs."""
    training = problem.training
    rules = LearningRules(
        WIDTH_CHOICES[training.width_choice],
        torch.Generator().manual_seed(training.seed),
        training.learn_ranges,
    )
    build = {WEIGHTS: _weight_quantizers, ACTIVATIONS: _activation_quantizers}
    quantizers = {kind: build[kind](problem, start[kind], rules) for kind in sides}
    everything = {**_fixed_quantizers(problem), **quantizers.get(ACTIVATIONS, {})}
    mirror = with_quantizers(problem.mirror, everything, quantizers.get(WEIGHTS, {}), problem.sites.readers)
    return WidthLearner(mirror, sides, quantizers, rules.generator)


def _weight_quantizers(problem: "WidthProblem", start: np.ndarray, rules: LearningRules) -> Quantizers:
    items, found = problem.weights, {}
    starts = items.split(start)
    for site in problem.sites.free_weights:
        places = items.choices_of(site.tensor)
        shape = along_axis(len(site.shape), site.channel_axis)
        grids = problem.grids(site)
        scale, zero_point, levels = (
            torch.from_numpy(np.stack([getattr(grids[place], name).reshape(shape) for place in places]))
            for name in ("scale", "zero_point", "levels")
        )
        bits = torch.tensor(starts[site.tensor], dtype=torch.float32)
        table = WidthTable(_choices(items.choices[places]), scale, zero_point, levels)
        shaped = bits.reshape(shape) if len(bits) > 1 else bits.reshape(())
        found[site.tensor] = LearnedQuantizer(table, shaped, rules)
    return found


def _activation_quantizers(problem: "WidthProblem", start: np.ndarray, rules: LearningRules) -> Quantizers:
    items, calibration, found = problem.activations, problem.calibration, {}
    for tensor, width in zip(items.names, start, strict=True):
        choices = items.choices[items.choices_of(tensor)]
        quantizers = [calibration.tensors[tensor].quantizer(bits) for bits in choices]
        scale, zero_point, levels = (
            torch.tensor(column, dtype=torch.float32) for column in zip(*quantizers, strict=True)
        )
        if problem.dynamic_ranges:  # what is always zero in calibration may have a range in other examples
            usable = SCHEMES[calibration.scheme].usable
            levels = torch.tensor([float(usable(levels_of(bits))) for bits in choices])
        table = WidthTable(_choices(choices), scale, zero_point, levels)
        bits = torch.tensor(width, dtype=torch.float32)
        found[tensor] = (
            LearnedDynamicQuantizer(table, bits, rules, calibration.scheme)
            if problem.dynamic_ranges
            else LearnedQuantizer(table, bits, rules)
        )
    return found


def _choices(choices: np.ndarray) -> Tensor:
    return torch.tensor(choices, dtype=torch.float32)


def _fixed_quantizers(problem: "WidthProblem") -> dict[str, nn.Module]:
    if problem.budget.activation_bits is None:
        return {}
    fixed = {
        site.tensor: problem.calibration.activation_quantizer(
            site.tensor, site.fixed_bits, problem.dynamic_ranges
        )
        for site in problem.sites.activations
        if site.fixed_bits is not None
    }
    return activation_quantizers(fixed)
