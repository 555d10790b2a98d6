"""Layer by layer: round the weights of each node on its data, correct its bias, go on with the quantized outputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from mpq_onnx.arithmetic.weights import QuantizedWeight, WeightGrid, along_axis, quantize_to_nearest
from mpq_onnx.graph.mac import BIAS_INPUT
from mpq_onnx.graph.placement import WeightSite, WeightUse
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.matrix_form import MatrixForm
from mpq_onnx.mirror.matrix_forms import matrix_form
from mpq_onnx.mirror.stepwise import Stepper, Streams
from mpq_onnx.progress import counter
from mpq_onnx.rounding.layer import Layer, Moments, RoundingMethod
from mpq_onnx.rounding.moments import measured_moments
from mpq_onnx.rounding.nearest import NEAREST
from mpq_onnx.rounding.result import CORRECTED_OPS, RoundingResult, channel_bias, with_variance_of
from mpq_onnx.rounding.rounding_data import RoundingData
from mpq_onnx.rounding.shrinkage import read_elsewhere

FINE_LEVELS = 512
"""A weight of more than 8 bits everywhere is rounded to nearest: its error hardly counts, whatever it is. At 8 bits it does
where the scheme leaves levels unused, so that integer kernels do not saturate."""


@dataclass(frozen=True)
class Corrections:
    """What is put right after rounding."""

    bias: bool = True
    """Shift each output channel's bias so that its mean over the data is the float network's (arXiv 1906.04721, section 4.2,
    measured instead of derived)."""
    variance: bool = False
    """Scale each output channel's weights so that they have the float ones' variance again (arXiv 1810.05723, section 5)."""


def round_weights(
    quantized: Mirror,
    sites: Sequence[WeightSite],
    grids: Mapping[str, WeightGrid],
    method: RoundingMethod,
    data: RoundingData,
    corrections: Corrections,
    kept_as: torch.dtype = torch.float32,
) -> RoundingResult:
    """Round every weight that has a grid; ranks add up what they find on their shares of the data.

    A weight that several nodes share is rounded for the first that multiplies it, and held to its float values for the others.

    Args:
        quantized: a mirror whose activations have their final quantizers and whose weights are float.
        method: from ROUNDINGS.
        kept_as: see Stepper.
    """
    stepper = Stepper(quantized, data.batches, kept_as)
    with counter("round weights", len(grids), "layer") as progress:
        visitor = _Rounder(quantized, sites, grids, method, corrections, data, stepper, progress.update)
        stepper.walk(visitor.readers, visitor)
    return visitor.result


class _Rounder:
    """A Visitor: rounds the weights of a node on what it reads, and takes the mean of what it makes."""

    def __init__(
        self,
        mirror: Mirror,
        sites: Sequence[WeightSite],
        grids: Mapping[str, WeightGrid],
        method: RoundingMethod,
        corrections: Corrections,
        data: RoundingData,
        stepper: Stepper,
        advance: Callable[[], object],
    ) -> None:
        """Args: advance: called for every weight that is rounded."""
        self.mirror, self.grids, self.method = mirror, grids, method
        self.corrections, self.data, self.stepper, self.advance = corrections, data, stepper, advance
        self.result = RoundingResult({}, {}, {})
        self.known: tuple[Any, Moments] | None = None
        """The moments of the layer before, and what they depend on."""
        self.tensors = {node: tensor for tensor, node in mirror.values.items()}
        self.readers = weight_readers(mirror, [site for site in sites if site.tensor in grids])

    def before(self, node: fx.Node, streams: Streams) -> None:
        for site in self.readers[node]:  # a recurrent layer has two
            self._round(node, site, streams)

    def after(self, node: fx.Node, exact: Sequence[Any], quantized: Sequence[Any]) -> Tensor | None:
        for site in self.readers[node]:
            use = _use(site, node)
            if use is None or not self.data.examples or not self._corrects(node, use):
                continue
            along = 1 if use.op_type in CORRECTED_OPS else -1
            shift = _mean_error(exact, quantized, along, self.data)
            if use.op_type in CORRECTED_OPS:
                self._shift_bias(use, shift)
                return shift.reshape(along_axis(exact[0].dim(), 1)) if exact else shift
            self._shift_constant(use, shift)
        return None

    def _round(self, node: fx.Node, site: WeightSite, streams: Streams) -> None:
        weights, grid, use = self.result.weights, self.grids[site.tensor], _use(site, node)
        constant = self.mirror.values[site.tensor]
        weight = getattr(self.mirror.module, str(constant.target)).detach()
        if site.tensor not in weights:
            if use is None:  # looked up before it is multiplied
                nearest = quantize_to_nearest(weight.cpu().numpy(), site.channel_axis, grid)
                self.stepper.replace(constant, torch.from_numpy(nearest.dequantized()).to(weight.device))
                return
            corrects = self._corrects(node, use)
            moments = self._moments_of(node, weight, streams, corrects)
            others = sum(site in sites for sites in self.readers.values()) - 1
            rounded = _round(node, site, use, streams, weight, grid, self.method, moments, self.data, others)
            if self.corrections.variance:
                rounded = with_variance_of(rounded, weight.cpu().numpy())
            weights[site.tensor] = rounded
            self.advance()
        self.stepper.replace(constant, torch.from_numpy(weights[site.tensor].dequantized()).to(weight.device))

    def _moments_of(
        self, node: fx.Node, weight: Tensor, streams: Streams, corrects: bool
    ) -> Callable[[MatrixForm], Moments]:
        """What the moments of a layer are found by; those of one input are found once for all that read it alike, one behind
        the other: queries, keys and values.

        Args:
            corrects: the bias will take the mean error of every channel: rounding need not.
        """

        def find(form: MatrixForm) -> Moments:
            key = node.args[0], form, weight.shape, corrects
            if self.known is None or self.known[0] != key:
                self.known = key, measured_moments(form, streams, weight, corrects, self.data)
            return self.known[1]

        return find

    def _corrects(self, node: fx.Node, use: WeightUse) -> bool:
        """The mean error of every channel will be taken away."""
        return self.corrections.bias and (use.added is not None or _correctable(use, node, self.mirror))

    def _shift_bias(self, use: WeightUse, shift: Tensor) -> None:
        """Take the mean error into the bias."""
        bias = None if use.bias is None else channel_bias(self.mirror.parameter(use.bias), len(shift))
        corrected = shift if bias is None else (bias.detach() + shift).to(bias.dtype)
        self.result.biases[use.node] = corrected.cpu().numpy()

    def _shift_constant(self, use: WeightUse, shift: Tensor) -> None:
        """The same into the constant that an Add of its own gives."""
        added = self.mirror.values[str(use.added)]
        constant = getattr(self.mirror.module, str(added.target)).detach()
        shifted = constant + shift.reshape(constant.shape)
        self.result.constants[self.tensors[added]] = shifted.cpu().numpy()
        self.stepper.replace(added, shifted)


def weight_readers(mirror: Mirror, sites: Sequence[WeightSite]) -> dict[fx.Node, list[WeightSite]]:
    """The nodes that read weights, with those."""
    readers: dict[fx.Node, list[WeightSite]] = {}
    for site in sites:
        for user in mirror.values[site.tensor].users:
            if user.op != "output":  # the model gives it away, too
                readers.setdefault(user, []).append(site)
    return readers


def _use(site: WeightSite, node: fx.Node) -> WeightUse | None:
    return next((each for each in site.uses if each.node == node.meta.get("onnx_name")), None)


def _round(
    node: fx.Node,
    site: WeightSite,
    use: WeightUse,
    streams: Streams,
    weight: Tensor,
    grid: WeightGrid,
    method: RoundingMethod,
    moments_of: Callable[[MatrixForm], Moments],
    data: RoundingData,
    others: int,
) -> QuantizedWeight:
    """The weight on its grid, by `method` where the layer has a matrix form, else to nearest.

    Args:
        others: nodes that read the weight beside this one.
    """
    rank = max(data.ranks.gather(streams.exact[0][0].dim() if streams.exact else 0))
    form = matrix_form(use, weight, dict(node.kwargs), rank)
    if form is None or use.channel_axis != site.channel_axis:
        return quantize_to_nearest(weight.cpu().numpy(), site.channel_axis, grid)

    def as_matrix(vector: np.ndarray) -> Tensor:
        shaped = torch.from_numpy(vector).to(weight).reshape(along_axis(weight.dim(), site.channel_axis))
        return form.weight_matrix(shaped.expand_as(weight))[..., :1]

    layer = Layer(
        weight=form.weight_matrix(weight),
        scale=as_matrix(grid.scale),
        zero_point=as_matrix(grid.zero_point),
        levels=as_matrix(grid.levels),
    )
    fine = bool((grid.levels >= FINE_LEVELS).all())
    chosen = NEAREST if fine else method
    moments = moments_of(form) if chosen.needs_moments else None
    if moments is not None and others:
        moments = read_elsewhere(moments, layer.weight, others)
    integers = form.weight_from_matrix(chosen(layer, moments), weight)
    return QuantizedWeight.of(integers.cpu().numpy(), grid, site.channel_axis)


def _correctable(use: WeightUse, node: fx.Node, mirror: Mirror) -> bool:
    """A bias input that is free, or holds a constant with one value an output channel."""
    if use.op_type not in CORRECTED_OPS:
        return False
    bias = node.args[BIAS_INPUT] if len(node.args) > BIAS_INPUT else None
    if bias is None:
        return True
    return use.bias is not None and channel_bias(mirror.parameter(use.bias), use.channels) is not None


def _mean_error(
    exact: Sequence[Tensor], quantized: Sequence[Tensor], channel_axis: int, data: RoundingData
) -> Tensor:
    """Of the quantized outputs, by channel, over the data of all ranks: what has to be added."""
    channels = max(data.ranks.gather(exact[0].shape[channel_axis] if exact else 0))
    total, count = torch.zeros(channels, dtype=torch.float64, device=data.device), 0
    for wanted, found in zip(exact, quantized, strict=True):
        difference = wanted - found
        along = channel_axis % difference.dim()
        total += difference.sum(dim=[axis for axis in range(difference.dim()) if axis != along])
        count += difference.numel() // channels
    return (data.ranks.sum(total) / sum(data.ranks.gather(count))).float()
