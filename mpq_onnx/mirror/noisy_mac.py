"""A mirror with physical noise at its multiply-accumulate nodes, whose energies are parameters."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mpq_onnx.arithmetic.noise.energy_levels import EnergyLevels
from mpq_onnx.arithmetic.noise.model import NoiseModel, Variance
from mpq_onnx.errors import ModelError
from mpq_onnx.graph.placement.mac_sites import MacSite
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.copying import copy_mirror
from mpq_onnx.mirror.mac_geometry import MacGeometry
from mpq_onnx.registries import NOISE_MODELS


class AddNoise(torch.autograd.Function):
    """y plus noise of unit energy, scaled by E^(-1/2), E to the power that its variance falls with; d/d ln(E) is -noise / 2.

    The noise's own dependence on inputs counts as constant: the energies cannot change it.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, y: Tensor, unit_noise: Tensor, log_energy: Tensor
    ) -> Tensor:
        noise = unit_noise * torch.exp(-0.5 * log_energy)
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

    geometry: MacGeometry
    x: Tensor
    w: Tensor
    fan_in: int
    weight_range: Tensor | None
    input_range: float | None
    energy_per_mac: float = 1.0

    @property
    def input_square_sum(self) -> Tensor:
        return self.geometry.input_square_sum(self.x, self.w)  # type: ignore[no-any-return]

    @property
    def weight_square_sum(self) -> Tensor:
        return self.geometry.weight_square_sum(self.x, self.w)  # type: ignore[no-any-return]


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
    ) -> None:
        """Args: energy_per_mac: float64 [1] or [channels], the start."""
        super().__init__()
        self.site, self.geometry, self.levels, self.generator = site, geometry, levels, generator
        self.models = [NOISE_MODELS[name] for name in noises]
        self.weight_noise = _by_power(model for model in self.models if model.weight_variance is not None)
        self.output_noise = _by_power(model for model in self.models if model.output_variance is not None)
        self.log_energy = nn.Parameter(torch.from_numpy(np.log(energy_per_mac)).float())
        ranges = None if site.weight_range is None else torch.tensor(site.weight_range, dtype=torch.float32)
        self.register_buffer("weight_range", ranges)

    @property
    def energy_per_mac(self) -> Tensor:
        """The energies that are being learned."""
        return torch.exp(self.log_energy)

    def forward(self, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        log_energy = self.levels.nearest(self.log_energy)
        held = w
        for power, models in self.weight_noise:
            variance = _sum([self.unit_weight_variance(model, x, w) for model in models])
            spread = self.geometry.over_weight(log_energy, w) * power
            held = AddNoise.apply(held, variance.sqrt() * self._normal(w), spread)  # type: ignore[assignment]
        y = self.geometry.mac(x, held, b)
        if not self.output_noise:
            return y
        noisy = viewed = self.geometry.view(y, w)
        for power, models in self.output_noise:
            variance = _sum([self.unit_output_variance(model, x, w) for model in models])
            spread = self.geometry.over_output(log_energy, w) * power
            noisy = AddNoise.apply(noisy, variance.sqrt() * self._normal(viewed), spread)  # type: ignore[assignment]
        return noisy.reshape(y.shape)

    @torch.no_grad()
    def unit_output_variance(self, model: NoiseModel, x: Tensor, w: Tensor) -> Tensor:
        """Variance of the output's noise at E = 1, broadcasting over the geometry's view of the output.

        `w` is the weight without its noise: all noises together are what each does alone.
        """
        ranges = None if self.weight_range is None else self.geometry.over_output(self.weight_range, w)
        assert model.output_variance is not None
        variance, gain = self._variance(model.output_variance, x, w, ranges), self.geometry.gain()
        return variance if gain is None else variance * gain**2

    @torch.no_grad()
    def unit_weight_variance(self, model: NoiseModel, x: Tensor, w: Tensor) -> Tensor:
        """Variance of the weight's noise at E = 1, broadcasting over the weight."""
        ranges = None if self.weight_range is None else self.geometry.over_weight(self.weight_range, w)
        assert model.weight_variance is not None
        return self._variance(model.weight_variance, x, w, ranges)

    def _variance(self, variance: Variance, x: Tensor, w: Tensor, weight_range: Tensor | None) -> Tensor:
        site = self.site
        quantities = _Quantities(self.geometry, x, w, site.fan_in, weight_range, site.input_range)
        return torch.as_tensor(variance(quantities), device=x.device)

    def _normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator, device=like.device)


def _by_power(models: Iterable[NoiseModel]) -> list[tuple[float, list[NoiseModel]]]:
    """The models, by the power of the energy that their variance falls with."""
    found: dict[float, list[NoiseModel]] = {}
    for model in models:
        found.setdefault(model.falls_with, []).append(model)
    return list(found.items())


def _sum(variances: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*variances)).sum(0)


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
) -> NoisyMirror:
    """A copy of `mirror` whose multiply-accumulate nodes `sites` are noisy.

    Args:
        noises: names in NOISE_MODELS.
        energies: float64 [1] or [channels] by node name.
        levels: which energies may be used.

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
        module = NoisyMac(site, geometry, noises, energies[site.node], levels, generator).to(device)
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


def check_ranges(site: MacSite, noises: Sequence[str]) -> None:
    """Raise ModelError where a noise model needs the range of a quantizer that the node does not have."""
    for name in noises:
        model = NOISE_MODELS[name]
        for needed, found, tensor in (
            (model.needs_weight_range, site.weight_range, site.weight),
            (model.needs_input_range, site.input_range, site.input),
        ):
            if needed and found is None:
                raise ModelError(
                    f"{name} noise at node {site.node} scales with the range of the quantizer of {tensor}, and there is"
                    " none: give a quantized model, or --weight-bits 8 --activation-bits 8"
                )
