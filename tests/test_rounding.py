"""Adaptive rounding and bias correction do what they are for."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from conftest import make_cnn

from mpq_onnx.arithmetic.quantized_network import QuantizedNetwork
from mpq_onnx.arithmetic.weights import WeightRules, channel_rows, weight_grid
from mpq_onnx.graph.example_layout import ExampleLayout
from mpq_onnx.graph.placement import find_sites
from mpq_onnx.mirror import build_mirror
from mpq_onnx.mirror.matrix_form import MatrixForm, second_moment
from mpq_onnx.mirror.quantized import quantized_mirror
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.registries import ROUNDINGS
from mpq_onnx.rounding.layer import Layer, Moments
from mpq_onnx.rounding.layerwise import Corrections, round_weights
from mpq_onnx.rounding.rounding_data import RoundingData
from mpq_onnx.runtime.tensors import tensor_shapes


def layer_problem(bits: int = 3, seed: int = 0) -> tuple[Layer, Moments, torch.Tensor]:
    """A 3x3 convolution on smooth (strongly correlated) data."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.standard_normal((32, 4, 10, 10)).astype(np.float32)).cumsum(2).cumsum(3) / 10
    weight = torch.from_numpy(rng.standard_normal((6, 4, 3, 3)).astype(np.float32))
    grid = weight_grid(channel_rows(weight.numpy(), 0), np.full(6, bits), WeightRules("mse"))
    scale, zero_point, levels = (
        torch.from_numpy(array).reshape(1, 6, 1) for array in (grid.scale, grid.zero_point, grid.levels)
    )
    form = MatrixForm("Conv", {}, ExampleLayout(0), ExampleLayout(0))
    patches = form.patches(x, weight)
    moment = second_moment(patches, patches) / (patches.shape[0] * patches.shape[3])
    return (
        Layer(form.weight_matrix(weight), scale, zero_point, levels),
        Moments(moment, moment),
        patches,
    )


def output_error(layer: Layer, integers: torch.Tensor, patches: torch.Tensor) -> float:
    error = (integers - layer.zero_point) * layer.scale - layer.weight
    return float(torch.einsum("gok,ngkl->ngol", error, patches).square().mean())


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_adaptive_rounding_lowers_the_output_error(bits: int) -> None:
    layer, moments, patches = layer_problem(bits)
    nearest = ROUNDINGS["nearest"](layer, None)
    adaptive = ROUNDINGS["adaptive"](layer, moments)
    assert output_error(layer, adaptive, patches) < 0.5 * output_error(layer, nearest, patches)


def test_adaptive_rounding_only_rounds_up_or_down() -> None:
    layer, moments, _ = layer_problem()
    integers = ROUNDINGS["adaptive"](layer, moments)
    assert torch.equal(integers, integers.round())
    assert bool(((integers >= 0) & (integers <= layer.levels - 1)).all())
    position = (layer.weight / layer.scale + layer.zero_point).clamp(min=torch.zeros(1), max=layer.levels - 1)
    assert float((integers - position).abs().max()) <= 1.0


def test_no_single_flip_helps_any_more() -> None:
    layer, moments, patches = layer_problem()
    integers = ROUNDINGS["adaptive"](layer, moments)
    reached = output_error(layer, integers, patches)
    position = layer.weight / layer.scale + layer.zero_point
    for index in np.ndindex(*integers.shape):
        other = integers.clone()
        low, high = torch.floor(position[index]), torch.ceil(position[index])
        other[index] = low if integers[index] == high else high
        if 0 <= other[index] <= layer.levels[0, index[1], 0] - 1:
            assert output_error(layer, other, patches) >= reached * (1 - 1e-4)


def test_bias_correction_keeps_every_channels_mean() -> None:
    model = canonicalize(ir.from_proto(make_cnn()))
    mirror = build_mirror(model)
    images = torch.from_numpy(np.random.default_rng(0).standard_normal((64, 3, 12, 12)).astype(np.float32))
    shapes = _shapes(model)
    sites = find_sites(model, shapes)
    grids = {
        site.tensor: weight_grid(
            channel_rows(mirror.parameter(site.tensor).detach().numpy(), site.channel_axis),
            np.full(site.channels, 2),
            WeightRules(),
        )
        for site in sites.weights
    }
    means = {}
    for corrected in (False, True):
        rounded = round_weights(
            mirror,
            sites.weights,
            grids,
            ROUNDINGS["nearest"],
            RoundingData.alone([[images]]),
            Corrections(corrected),
        )
        network = QuantizedNetwork(weights=rounded.weights, float_biases=rounded.biases)
        with torch.no_grad():
            (found,) = quantized_mirror(mirror, network).module.forward(images)
            (wanted,) = mirror.module.forward(images)
        means[corrected] = float((found - wanted).mean(dim=0).abs().max())
    assert means[True] < 1e-4
    assert means[False] > 100 * means[True]


def _shapes(model: ir.Model) -> dict[str, tuple[int, ...]]:
    from mpq_onnx.datasets import open_dataset
    from mpq_onnx.graph.model_inputs import model_inputs

    return tensor_shapes(model, open_dataset("random?count=2", model_inputs(model)), "cpu")
