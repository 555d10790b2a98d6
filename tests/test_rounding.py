"""Adaptive rounding and bias correction do what they are for."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from conftest import make_cnn
from hypothesis import given, settings
from hypothesis import strategies as st

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
from mpq_onnx.rounding.moments import squares_of_moments
from mpq_onnx.rounding.quadratic import QuadraticError
from mpq_onnx.rounding.rounding_data import RoundingData
from mpq_onnx.rounding.shrinkage import LEAST_SHRINKAGE, Seen, read_elsewhere, shrunk
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


def test_adaptive_rounding_keeps_to_the_grid() -> None:
    layer, moments, _ = layer_problem()
    integers = ROUNDINGS["adaptive"](layer, moments)
    assert torch.equal(integers, integers.round())
    assert bool(((integers >= 0) & (integers <= layer.levels - 1)).all())


def test_at_8_bits_weights_are_rounded_down_or_up() -> None:
    layer, moments, _ = layer_problem(8)
    integers = ROUNDINGS["adaptive"](layer, moments)
    position = (layer.weight / layer.scale + layer.zero_point).clamp(min=torch.zeros(1), max=layer.levels - 1)
    assert float((integers - position).abs().max()) <= 1.0


def test_no_single_step_helps_any_more() -> None:
    layer, moments, patches = layer_problem()
    integers = ROUNDINGS["adaptive"](layer, moments)
    reached = output_error(layer, integers, patches)
    for index in np.ndindex(*integers.shape):
        for step in (-1, 1):
            other = integers.clone()
            other[index] += step
            if 0 <= other[index] <= layer.levels[0, index[1], 0] - 1:
                assert output_error(layer, other, patches) >= reached * (1 - 1e-4)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_groups_are_rounded_as_layers_of_their_own(seed: int) -> None:
    """In float64: in float32 sums of another order tell two nearly equal steps apart, and end in another minimum."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        torch.randn(*shape, generator=generator).double() for shape in ((3, 40, 9), (3, 9, 9), (3, 2, 9))
    ]
    data, weight = drawn[0] @ drawn[1], drawn[2]
    moment = data.transpose(1, 2) @ data / 40
    scale, zero_point, levels = (torch.full((3, 2, 1), each).double() for each in (0.5, 3.0, 6.0))
    layer = Layer(weight, scale, zero_point, levels)
    together = ROUNDINGS["adaptive"](layer, Moments(moment, moment))
    for group in range(3):
        part = slice(group, group + 1)
        alone = Layer(*(getattr(layer, name)[part] for name in ("weight", "scale", "zero_point", "levels")))
        found = ROUNDINGS["adaptive"](alone, Moments(moment[part], moment[part]))
        errors = [
            QuadraticError(alone, Moments(moment[part], moment[part])).error(each)
            for each in (found, together[part])
        ]
        torch.testing.assert_close(*errors, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["silent", "one tap alone", "not a second moment"])
def test_moments_that_cannot_be_inverted_round_no_worse_than_nearest(kind: str) -> None:
    layer, _, _ = layer_problem()
    taps = layer.weight.shape[2]
    moment = torch.zeros(1, taps, taps)
    if kind == "one tap alone":
        moment[0, 3, 3] = 2.0
    elif kind == "not a second moment":
        moment[0] = -torch.eye(taps)
    nearest, adaptive = (ROUNDINGS[name](layer, Moments(moment, moment)) for name in ("nearest", "adaptive"))
    assert bool(((adaptive >= 0) & (adaptive <= layer.levels - 1)).all())
    problem = QuadraticError(layer, Moments(moment, moment))
    assert bool((problem.error(adaptive) <= problem.error(nearest) + 1e-6).all())


def samples_of_a_dense_layer(count: int, taps: int = 96) -> torch.Tensor:
    """Activations [count, taps] behind a ReLU, strongly correlated."""
    generator = torch.Generator().manual_seed(count)
    mixing = torch.randn(taps, taps, generator=torch.Generator().manual_seed(0)) * torch.linspace(
        1, 0.02, taps
    )
    return torch.relu(torch.randn(count, taps, generator=generator) @ mixing.T)


def of_samples(count: int, groups: int = 1) -> Seen:
    """All in one example: nothing is known but their number."""
    return Seen(count, 1, torch.zeros(groups))


def dense_layer(taps: int = 96, bits: int = 4) -> Layer:
    weight = torch.randn(1, 32, taps, generator=torch.Generator().manual_seed(1)) / taps**0.5
    grid = weight_grid(weight[0].numpy(), np.full(32, bits), WeightRules("minmax"))
    return Layer(
        weight,
        *(torch.from_numpy(each).reshape(1, 32, 1) for each in (grid.scale, grid.zero_point, grid.levels)),
    )


@pytest.mark.parametrize("count", [24, 48, 96, 4000])
def test_few_samples_serve_examples_that_were_not_seen(count: int) -> None:
    layer, seen = dense_layer(), samples_of_a_dense_layer(count)
    moment = (seen.T @ seen / count)[None]
    unseen = samples_of_a_dense_layer(5000).T[None, None]
    nearest = ROUNDINGS["nearest"](layer, None)
    adaptive = ROUNDINGS["adaptive"](layer, shrunk(Moments(moment, moment), of_samples(count)))
    assert output_error(layer, adaptive, unseen) < 0.95 * output_error(layer, nearest, unseen)


def test_positions_of_an_example_that_resemble_each_other_count_little() -> None:
    """Many positions of few examples: as sure as the examples are many, not the positions."""
    layer, examples, positions = dense_layer(), 48, 200
    generator = torch.Generator().manual_seed(3)
    own = samples_of_a_dense_layer(examples)[:, :, None]
    patches = (own * (1 + 0.1 * torch.randn(examples, 96, positions, generator=generator)))[:, None]
    moment = torch.einsum("ngkl,ngml->gkm", patches, patches) / (examples * positions)
    between = squares_of_moments(patches).sum(0) - examples * moment.double().square().sum(dim=(1, 2))
    unseen = samples_of_a_dense_layer(5000).T[None, None]
    nearest = output_error(layer, ROUNDINGS["nearest"](layer, None), unseen)
    aware, deceived = (
        output_error(layer, ROUNDINGS["adaptive"](layer, shrunk(Moments(moment, moment), seen)), unseen)
        for seen in (Seen(examples * positions, examples, between), of_samples(examples * positions))
    )
    assert aware < 0.95 * nearest
    assert aware < 0.95 * deceived


@pytest.mark.parametrize("positions", [5, 40])
def test_examples_are_compared_by_the_norms_of_their_own_moments(positions: int) -> None:
    patches = torch.randn(7, 2, 12, positions, generator=torch.Generator().manual_seed(0))
    own = torch.einsum("ngkl,ngml->ngkm", patches, patches) / positions
    torch.testing.assert_close(
        squares_of_moments(patches), own.double().square().sum(dim=(2, 3)), rtol=1e-4, atol=0
    )


def test_moments_of_many_samples_stay_as_they_are() -> None:
    moment = samples_of_a_dense_layer(4000).T.cov()[None]
    few, many = (shrunk(Moments(moment, moment), of_samples(count)).quantized for count in (10, 10**7))
    assert torch.allclose(
        many, (1 - LEAST_SHRINKAGE) * moment, atol=float(2 * LEAST_SHRINKAGE * moment.max())
    )
    assert (few - moment).norm() > (many - moment).norm()
    assert few.diagonal(dim1=1, dim2=2).sum() == pytest.approx(
        float(moment.diagonal(dim1=1, dim2=2).sum()), rel=1e-4
    )


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12, 1e30])
def test_the_size_of_signals_decides_nothing(size: float) -> None:
    seen = samples_of_a_dense_layer(300)
    moment = (seen.T @ seen / 300)[None]
    wanted, found = (shrunk(Moments(each, each), of_samples(300)) for each in (moment, moment * size))
    torch.testing.assert_close(found.quantized / size, wanted.quantized)
    torch.testing.assert_close(found.cross / size, wanted.cross)


@pytest.mark.parametrize("taps", [1, 2])
def test_few_and_silent_taps_have_moments_too(taps: int) -> None:
    for moment in (torch.zeros(2, taps, taps), torch.eye(taps).expand(2, taps, taps)):
        found = shrunk(Moments(moment, moment), of_samples(3, groups=2))
        assert bool(torch.isfinite(found.quantized).all())
        torch.testing.assert_close(found.quantized, moment)  # white already


def test_what_a_product_does_not_see_its_other_readers_do() -> None:
    """Half of the taps are never active: their weights are rounded to nearest where somebody else reads them."""
    layer = dense_layer()
    seen = samples_of_a_dense_layer(4000)
    seen[:, 48:] = 0
    moments = shrunk(Moments(*[(seen.T @ seen / 4000)[None]] * 2), of_samples(4000))
    nearest = ROUNDINGS["nearest"](layer, None)
    for readers, share in ((1, 1.5), (8, 1.1)):
        adaptive = ROUNDINGS["adaptive"](layer, read_elsewhere(moments, layer.weight, readers))
        white = [
            (((each - layer.zero_point) * layer.scale - layer.weight) ** 2).mean()
            for each in (adaptive, nearest)
        ]
        assert white[0] < share * white[1]
        assert torch.equal(adaptive[..., 48:], nearest[..., 48:])


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
