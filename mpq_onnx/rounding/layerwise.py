"""Layer by layer: round the weights of each node on its data, correct its bias, go on with the quantized outputs."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from mpq_onnx.arithmetic.weights import (
    QuantizedWeight,
    WeightGrid,
    along_axis,
    channel_rows,
    quantize_to_nearest,
)
from mpq_onnx.graph.mac import BIAS_INPUT, split_equation
from mpq_onnx.graph.placement import WeightSite, WeightUse
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.matrix_form import MatrixForm, second_moment
from mpq_onnx.mirror.matrix_forms import matrix_form
from mpq_onnx.mirror.ops import OP_TABLE
from mpq_onnx.mirror.stepwise import Stepper, Streams
from mpq_onnx.progress import counter
from mpq_onnx.rounding.layer import Layer, Moments, RoundingMethod

Array = Any  # numpy.ndarray or torch.Tensor; only methods that both have are called
CORRECTED_OPS = frozenset({"Conv", "ConvTranspose", "Gemm"})
"""Ops with a bias input of their own."""

SAMPLES_PER_TAP = 128
"""Output positions that a second moment is averaged over, for each tap of the receptive field."""
FEWEST_POSITIONS = 32
"""Positions taken of every example, at least."""


@dataclass(frozen=True)
class Corrections:
    """What is put right after rounding."""

    bias: bool = True
    """Shift each output channel's bias so that its mean over the data is the float network's (arXiv 1906.04721, section 4.2,
    measured instead of derived)."""
    variance: bool = False
    """Scale each output channel's weights so that they have the float ones' variance again (arXiv 1810.05723, section 5)."""


@dataclass(frozen=True)
class RoundingResult:
    """Quantized weights by tensor, and the biases that make up for their mean error by node."""

    weights: dict[str, QuantizedWeight]
    biases: dict[str, np.ndarray]
    """By node."""
    constants: dict[str, np.ndarray]
    """Of the Add behind a product that has no bias of its own, by tensor."""
    steps: dict[str, np.float32] = field(default_factory=dict)
    """Learned steps of activation quantizers, by tensor."""

    def copy(self) -> "RoundingResult":
        """The same numbers in dictionaries of their own."""
        return RoundingResult(dict(self.weights), dict(self.biases), dict(self.constants), dict(self.steps))


def round_weights(
    quantized: Mirror,
    sites: Sequence[WeightSite],
    grids: Mapping[str, WeightGrid],
    method: RoundingMethod,
    batches: Sequence[Sequence[Tensor]],
    corrections: Corrections,
) -> RoundingResult:
    """Round every weight that has a grid.

    A weight that several nodes share is rounded for the first that multiplies it.

    Args:
        quantized: a mirror whose activations have their final quantizers and whose weights are float.
        method: from ROUNDINGS.
        batches: the model's inputs in order, for every batch of calibration data.
    """
    result = RoundingResult({}, {}, {})
    tensors = {node: tensor for tensor, node in quantized.values.items()}
    stepper = Stepper(quantized, batches)
    readers: dict[fx.Node, list[WeightSite]] = {}
    for site in sites:
        for user in quantized.values[site.tensor].users if site.tensor in grids else ():
            readers.setdefault(user, []).append(site)

    def visit(node: fx.Node, streams: Streams) -> None:
        for site in readers.get(node, ()):  # a recurrent layer has two
            visit_weight(node, site, streams)

    def visit_weight(node: fx.Node, site: WeightSite, streams: Streams) -> None:
        constant = quantized.values[site.tensor]
        weight = getattr(quantized.module, str(constant.target)).detach()
        grid = grids[site.tensor]
        use = next((each for each in site.uses if each.node == node.meta.get("onnx_name")), None)
        corrected = (
            use if corrections.bias and use is not None and _correctable(use, node, quantized) else None
        )
        added = _added_constant(node, use, quantized) if corrections.bias and use is not None else None
        corrects = corrected is not None or added is not None
        if site.tensor not in result.weights:
            rounded = (
                None if use is None else _round(node, site, use, streams, weight, grid, method, corrects)
            )
            if rounded is None:  # looked up before it is multiplied
                nearest = quantize_to_nearest(weight.cpu().numpy(), site.channel_axis, grid)
                stepper.replace(constant, torch.from_numpy(nearest.dequantized()).to(weight.device))
                return
            if corrections.variance:
                rounded = _with_variance_of(rounded, weight.cpu().numpy())
            result.weights[site.tensor] = rounded
            progress.update()
        values = torch.from_numpy(result.weights[site.tensor].dequantized()).to(weight.device)
        stepper.replace(constant, values)
        if corrected is not None:
            bias = _corrected_bias(node, streams, values)
            result.biases[corrected.node] = bias.cpu().numpy()
            stepper.set_bias(node, bias)
        elif added is not None and streams.exact:
            constant = getattr(quantized.module, str(added.target)).detach()
            shifted = constant + _mean_error(node, streams, values, None, -1).reshape(constant.shape)
            result.constants[tensors[added]] = shifted.cpu().numpy()
            stepper.replace(added, shifted)

    with counter("round weights", len(grids), "layer") as progress:
        stepper.walk(visit)
    return result


def _round(
    node: fx.Node,
    site: WeightSite,
    use: WeightUse,
    streams: Streams,
    weight: Tensor,
    grid: WeightGrid,
    method: RoundingMethod,
    corrects: bool,
) -> QuantizedWeight:
    """The weight on its grid, by `method` where the layer has a matrix form, else to nearest.

    Args:
        corrects: the bias will take the mean error of every channel: rounding need not.
    """
    rank = streams.exact[0][0].dim() if streams.exact else 0
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
    moments = _moments(form, streams, weight, corrects) if method.needs_moments else None
    integers = form.weight_from_matrix(method(layer, moments), weight)
    return QuantizedWeight(integers.cpu().numpy().astype(np.int32), grid, site.channel_axis)


def _with_variance_of(rounded: QuantizedWeight, weight: np.ndarray) -> QuantizedWeight:
    """The same integers at scales that give every channel (or, with one scale, the tensor) the variance of `weight`."""
    exact, found = (channel_rows(each, rounded.channel_axis) for each in (weight, rounded.dequantized()))
    if rounded.grid.is_per_tensor:
        exact, found = exact.reshape(1, -1), found.reshape(1, -1)
    wanted, got = exact.std(axis=1), found.std(axis=1)
    ratio = np.divide(wanted, got, out=np.ones_like(wanted), where=(got > 0) & (wanted > 0))
    scale = (rounded.grid.scale * ratio).astype(np.float32)
    return dataclasses.replace(rounded, grid=dataclasses.replace(rounded.grid, scale=scale))


def _moments(form: MatrixForm, streams: Streams, weight: Tensor, central: bool) -> Moments:
    """Second moments over all examples, at as many output positions (spread at random) as the estimate needs.

    Args:
        central: of the deviations from the means.
    """
    generator = torch.Generator().manual_seed(0)
    axis, rows = form.input_layout.axis, form.input_layout.rows
    examples = sum(inputs[0].shape[axis] // rows for inputs in streams.exact)
    taps = form.weight_matrix(weight).shape[2]
    wanted = max(-(-SAMPLES_PER_TAP * taps // examples), FEWEST_POSITIONS)
    quantized, cross, mean, exact_mean = (torch.zeros((), device=weight.device) for _ in range(4))
    count = 0
    for exact_inputs, quantized_inputs in zip(streams.exact, streams.quantized, strict=True):
        x, t = form.sampled_patches((quantized_inputs[0], exact_inputs[0]), weight, wanted, generator)
        quantized = quantized + second_moment(x, x)
        cross = cross + second_moment(x, t)
        mean, exact_mean = mean + x.sum(dim=(0, 3)), exact_mean + t.sum(dim=(0, 3))
        count += x.shape[0] * x.shape[3]
    if not central:
        return Moments(quantized / count, cross / count)
    mean, exact_mean = mean / count, exact_mean / count
    return Moments(
        quantized / count - mean[:, :, None] * mean[:, None],
        cross / count - mean[:, :, None] * exact_mean[:, None],
    )


def _correctable(use: WeightUse, node: fx.Node, mirror: Mirror) -> bool:
    """A bias input that is free, or holds a constant with one value an output channel."""
    if use.op_type not in CORRECTED_OPS:
        return False
    bias = node.args[BIAS_INPUT] if len(node.args) > BIAS_INPUT else None
    if bias is None:
        return True
    return use.bias is not None and channel_bias(mirror.parameter(use.bias), use.channels) is not None


def channel_bias(bias: Array, channels: int) -> Array | None:
    """A bias that is the same for all rows, of any shape that broadcasts, as a vector [channels]; None for another."""
    if math.prod(bias.shape) == channels and (not len(bias.shape) or bias.shape[-1] == channels):
        return bias.reshape(channels)
    return bias.reshape(1)[[0] * channels] if math.prod(bias.shape) == 1 else None


def _added_constant(node: fx.Node, use: WeightUse, mirror: Mirror) -> fx.Node | None:
    """The constant that an Add of its own gives to a product's output channels, which come last: its bias in all but name.

    None where there is none, where something else reads it or the product, and where the operator has a bias itself.
    """
    if use.op_type not in ("MatMul", "Einsum") or len(node.users) != 1:
        return None
    (reader,) = node.users
    if reader.target is not OP_TABLE["Add"] or not _channels_come_last(node, use):
        return None
    constants = [each for each in reader.all_input_nodes if each.op == "get_attr" and len(each.users) == 1]
    if len(constants) != 1:
        return None
    shape = getattr(mirror.module, str(constants[0].target)).shape
    fits = len(shape) > 0 and shape[-1] == use.channels == math.prod(shape)
    return constants[0] if fits else None


def _channels_come_last(node: fx.Node, use: WeightUse) -> bool:
    if use.op_type == "MatMul":
        return True
    (_, weight), result = split_equation(str(node.kwargs["equation"]))
    return bool(result) and weight[use.channel_axis] == result[-1]


def _corrected_bias(node: fx.Node, streams: Streams, weight: Tensor) -> Tensor:
    """The bias plus the mean output error of each channel, which lie along axis 1."""
    bias = streams.exact[0][BIAS_INPUT] if len(streams.exact[0]) > BIAS_INPUT else None
    correction = _mean_error(node, streams, weight, bias, 1)
    present = channel_bias(bias.detach(), len(correction)) if bias is not None else None
    return correction if present is None else (present + correction).to(present.dtype)


def _mean_error(
    node: fx.Node, streams: Streams, weight: Tensor, bias: Tensor | None, channel_axis: int
) -> Tensor:
    """Of the outputs with the quantized weight and inputs, by channel, over the data: what has to be added."""
    total, count = torch.zeros((), device=weight.device), 0
    for exact, quantized in zip(streams.exact, streams.quantized, strict=True):
        wanted = node.target(*exact, **node.kwargs)  # type: ignore[operator]
        operands = (quantized[0], weight) if bias is None else (quantized[0], weight, bias)
        difference = wanted - node.target(*operands, **node.kwargs)  # type: ignore[operator]
        channels = channel_axis % difference.dim()
        total = total + difference.sum(dim=[axis for axis in range(difference.dim()) if axis != channels])
        count += difference.numel() // difference.shape[channels]
    return total / count
