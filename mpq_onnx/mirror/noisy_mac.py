"""A mirror with physical noise at its multiply-accumulate nodes, whose energies are parameters."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mpq_onnx.arithmetic.noise.energy_levels import EnergyLevels
from mpq_onnx.arithmetic.noise.model import NoiseModel, Variance
from mpq_onnx.graph.placement.mac_sites import MacSite, check_ranges
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.copying import copy_mirror
from mpq_onnx.mirror.factors import Factors
from mpq_onnx.mirror.mac_geometry import MacGeometry
from mpq_onnx.mirror.noise_draws import DRAWS, Draw
from mpq_onnx.registries import BANK, NOISE_MODELS


class AddNoise(torch.autograd.Function):
    """y plus noise that falls with E^(-1/2), E to the power that its variance falls with; d/d ln(E) is -noise / 2.

    The noise's own dependence on inputs counts as constant: the energies cannot change it.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, y: Tensor, noise: Tensor, log_energy: Tensor
    ) -> Tensor:
        ctx.save_for_backward(noise, log_energy)
        return y + noise

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        noise, log_energy = ctx.saved_tensors  # type: ignore[attr-defined]
        if not ctx.needs_input_grad[2]:  # type: ignore[attr-defined]
            return gradient, None, None
        return gradient, None, (gradient * noise).sum_to_size(log_energy.shape) * -0.5


@dataclass(frozen=True)
class _Quantities:
    """noise.Mac at unit energy, in torch."""

    mac: "NoisyMac"
    x: Tensor
    w: Tensor
    weight_range: Tensor | None
    energy_per_mac: float = 1.0

    @property
    def fan_in(self) -> int:
        return self.mac.site.fan_in

    @property
    def input_range(self) -> float | None:
        return self.mac.site.input_range

    @property
    def input_square_sum(self) -> Factors:
        return Factors((self.mac.geometry.input_square_sum(self.x, self.w),))

    @property
    def weight_square_sum(self) -> Tensor:
        return self.mac.weight_square_sum(self.x, self.w)


@dataclass(frozen=True)
class _Known:
    """What was computed of a weight, and of inputs of a shape."""

    weight: Tensor
    version: int
    shape: torch.Size
    value: Tensor

    def holds_for(self, weight: Tensor, shape: torch.Size) -> bool:
        return weight is self.weight and weight._version == self.version and shape == self.shape


class NoisyMac(nn.Module):
    """One noisy multiply-accumulate node."""

    weight_range: Tensor | None

    def __init__(
        self,
        site: MacSite,
        geometry: MacGeometry,
        noises: Sequence[str],
        energy_per_mac: np.ndarray,
        levels: EnergyLevels,
        generator: torch.Generator,
        draw: Draw,
    ) -> None:
        """Args: energy_per_mac: float64 [1] or [channels], the start. draw: of mirror.noise_draws."""
        super().__init__()
        self.site, self.geometry, self.levels = site, geometry, levels
        self.generator, self.draw = generator, draw
        self.models = [NOISE_MODELS[name] for name in noises]
        self.weight_noise = _by_power(model for model in self.models if model.weight_variance is not None)
        self.output_noise = _by_power(model for model in self.models if model.output_variance is not None)
        self.log_energy = nn.Parameter(torch.from_numpy(np.log(energy_per_mac)).float())
        ranges = None if site.weight_range is None else torch.tensor(site.weight_range, dtype=torch.float32)
        self.register_buffer("weight_range", ranges)
        self.known: _Known | None = None

    @property
    def energy_per_mac(self) -> Tensor:
        """The energies that are being learned."""
        return torch.exp(self.log_energy)

    def forward(self, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        log_energy = self.levels.nearest(self.log_energy)
        held = w
        for power, models in self.weight_noise:
            variance = _sum([self._weight_variance(model, x, w) for model in models])
            held = self._noisy(held, variance, self.geometry.over_weight(log_energy, w) * power)
        y = self.geometry.mac(x, held, b)
        if not self.output_noise:
            return y
        noisy = self.geometry.view(y, w)
        for power, models in self.output_noise:
            variance = _sum([self._output_variance(model, x, w) for model in models])
            noisy = self._noisy(noisy, variance, self.geometry.over_output(log_energy, w) * power)
        return noisy.reshape(y.shape)

    def _noisy(self, clean: Tensor, variance: Factors, log_energy: Tensor) -> Tensor:
        """Args: variance: at E = 1. log_energy: times the power that the variance falls with; broadcasts over `clean`."""
        with torch.no_grad():
            noise = self.draw(clean, self.generator)
            # The variance is positive, and so may be the product of two negative factors.
            *large, small = sorted(
                (factor.abs().sqrt() for factor in variance.factors), key=Tensor.numel, reverse=True
            )
            for factor in (*large, small * torch.exp(-0.5 * log_energy)):
                noise *= factor
        return AddNoise.apply(clean, noise, log_energy)  # type: ignore[no-any-return]

    def unit_output_variance(self, model: NoiseModel, x: Tensor, w: Tensor) -> Tensor:
        """Variance of the output's noise at E = 1, broadcasting over the geometry's view of the output.

        `w` is the weight without its noise: all noises together are what each does alone.
        """
        return self._output_variance(model, x, w).value

    def unit_weight_variance(self, model: NoiseModel, x: Tensor, w: Tensor) -> Tensor:
        """Variance of the weight's noise at E = 1, broadcasting over the weight."""
        return self._weight_variance(model, x, w).value

    def _output_variance(self, model: NoiseModel, x: Tensor, w: Tensor) -> Factors:
        ranges = None if self.weight_range is None else self.geometry.over_output(self.weight_range, w)
        assert model.output_variance is not None
        variance, gain = self._variance(model.output_variance, x, w, ranges), self.geometry.gain()
        return variance if gain is None else variance * float(gain) ** 2

    def _weight_variance(self, model: NoiseModel, x: Tensor, w: Tensor) -> Factors:
        ranges = None if self.weight_range is None else self.geometry.over_weight(self.weight_range, w)
        assert model.weight_variance is not None
        return self._variance(model.weight_variance, x, w, ranges)

    @torch.no_grad()
    def _variance(self, variance: Variance, x: Tensor, w: Tensor, weight_range: Tensor | None) -> Factors:
        found = variance(_Quantities(self, x, w, weight_range))
        return found if isinstance(found, Factors) else Factors((torch.as_tensor(found, device=x.device),))

    @torch.no_grad()
    def weight_square_sum(self, x: Tensor, w: Tensor) -> Tensor:
        """That of the geometry; computed once for a weight that stays as it is, and inputs of one shape."""
        shape = x.shape[1:]
        if self.known is None or not self.known.holds_for(w, shape):
            self.known = _Known(w, w._version, shape, self.geometry.weight_square_sum(x, w))
        return self.known.value


def _by_power(models: Iterable[NoiseModel]) -> list[tuple[float, list[NoiseModel]]]:
    """The models, by the power of the energy that their variance falls with."""
    found: dict[float, list[NoiseModel]] = {}
    for model in models:
        found.setdefault(model.falls_with, []).append(model)
    return list(found.items())


def _sum(variances: Sequence[Factors]) -> Factors:
    first, *others = variances
    return Factors((sum((each.value for each in others), start=first.value),)) if others else first


@dataclass(frozen=True)
class NoisyMirror:
    """A mirror with noise, and the modules that make it."""

    mirror: Mirror
    modules: dict[str, NoisyMac]
    """By node name."""
    generator: torch.Generator
    """Of all the noise; seed it to replay."""


def with_noise(
    mirror: Mirror,
    sites: Sequence[MacSite],
    noises: Sequence[str],
    energies: Mapping[str, np.ndarray],
    levels: EnergyLevels,
    draws: str = BANK,
) -> NoisyMirror:
    """A copy of `mirror` whose multiply-accumulate nodes `sites` are noisy.

    Args:
        noises: names in NOISE_MODELS.
        energies: float64 [1] or [channels] by node name.
        levels: which energies may be used.
        draws: where normals come from, a name in NOISE_DRAWS.

    Raises:
        ModelError: a noise model needs the range of a quantizer that a node does not have.
    """
    changed = copy_mirror(mirror, "NoisyMirror")
    graph = changed.module.graph
    device = changed.device
    generator = torch.Generator(device)
    modules: dict[str, NoisyMac] = {}
    for site in sites:
        check_ranges(site, noises)
        node = changed.values[site.output]
        geometry = MacGeometry(site.op_type, node.kwargs, device)
        module = NoisyMac(site, geometry, noises, energies[site.node], levels, generator, DRAWS[draws]).to(
            device
        )
        modules[site.node] = module
        name = f"noisy_{node.name}"
        changed.module.add_submodule(name, module)
        with graph.inserting_before(node):
            noisy = graph.call_module(name, node.args)
        noisy.meta.update(node.meta)
        node.replace_all_uses_with(noisy)
        graph.erase_node(node)
        changed.values[site.output] = noisy
    changed.module.recompile()
    changed.module.eval()
    return NoisyMirror(changed, modules, generator)
