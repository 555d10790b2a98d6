"""Allocators on a network whose sensitive layer is known, and the width gradient against finite differences."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_onnx.arithmetic.quantization import fake_quantize, levels_of
from mpq_onnx.arithmetic.weights import WeightRules
from mpq_onnx.graph.placement import find_sites
from mpq_onnx.mirror import build_mirror
from mpq_onnx.mirror.quantized import LearnedWidth
from mpq_onnx.precision.fisher import measured_costs
from mpq_onnx.precision.training import train_levels
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.precision.training_settings import TrainingSettings
from mpq_onnx.precision.width_budgets import WidthBudget, WidthBudgets
from mpq_onnx.precision.widths import WidthProblem
from mpq_onnx.registries import METHODS
from mpq_onnx.runs.preparation import CalibrationRules, load_float_model, measure_calibration
from mpq_onnx.runtime.tensors import tensor_facts

CHOICES = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
DEVICE = torch.device("cpu")


def make_problem(
    model: Path,
    spec: str,
    weight_bits: float | None,
    activation_bits: float | None,
    granularity: str,
    steps: int = 40,
) -> WidthProblem:
    float_model = load_float_model(model)
    dataset = float_model.open_data(spec)
    calibration = measure_calibration(float_model, dataset, CalibrationRules(), "cpu")
    layouts = tensor_facts(float_model.model, dataset, "cpu").layouts
    mirror = build_mirror(float_model.model)
    mirror.module.requires_grad_(False)
    return WidthProblem(
        mirror=mirror,
        budgets=WidthBudgets(
            find_sites(float_model.model, calibration.shapes, layouts=layouts),
            WidthBudget(weight_bits, activation_bits, CHOICES, CHOICES, granularity),
        ),
        calibration=calibration,
        weight_rules=WeightRules(),
        training=TrainingSettings(steps=steps),
        data=TrainingData(dataset, mirror, DEVICE),
        log=logging.getLogger("test"),
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("granularity", ["layer", "channel"])
@pytest.mark.parametrize("budgets", [(3.3, 4.7), (2.0, 2.0), (None, 4.5), (3.0, None)])
def test_every_method_keeps_every_budget(
    cnn_file: Path,
    image_file: Path,
    method: str,
    granularity: str,
    budgets: tuple[float | None, float | None],
) -> None:
    problem = make_problem(cnn_file, f"npz:{image_file}?count=64", *budgets, granularity, steps=4)
    candidates = METHODS[method](problem)
    assert candidates
    for candidate in candidates:
        for widths, sites, budget in (
            (candidate.weights, problem.sites.weights, budgets[0]),
            (candidate.activations, problem.sites.free_activations, budgets[1]),
        ):
            if budget is None:
                assert widths == {}
                continue
            assert set(widths) == {site.tensor for site in sites}
            for width in widths.values():
                levels = 2.0 ** np.atleast_1d(width)
                assert set(np.atleast_1d(width)) <= set(CHOICES) or method == "uniform"
                np.testing.assert_allclose(levels, np.round(levels), rtol=1e-12)
            total = sum(np.mean(widths[site.tensor]) * site.elements for site in sites)
            assert total / sum(site.elements for site in sites) <= budget + 1e-9


def test_transformers_are_allocated_too(encoder_file: Path) -> None:
    problem = make_problem(encoder_file, "random?count=32", 3.5, 5.0, "channel", steps=4)
    for method in ("water-filling", "gradient"):
        (candidate,) = METHODS[method](problem)
        assert len(candidate.weights) == 7


def test_costs_predict_the_loss(cnn_file: Path, image_file: Path) -> None:
    """Quantizing one layer at a time: the measured order of the layers is the order of the costs."""
    problem = make_problem(cnn_file, f"npz:{image_file}", 4.0, None, "layer")
    costs = measured_costs(problem)["weights"]
    at = problem.weights.choices.tolist().index(3)
    batch = problem.data.batch(range(len(problem.data)))
    measured = []
    for site in problem.sites.weights:
        parameter = problem.mirror.parameter(site.tensor)
        kept = parameter.detach().clone()
        grid = problem.grids(site)[at]
        axes = [-1 if axis == site.channel_axis else 1 for axis in range(kept.dim())]
        scale, zero, levels = (
            torch.from_numpy(a).reshape(axes) for a in (grid.scale, grid.zero_point, grid.levels)
        )
        with torch.no_grad():
            parameter.copy_(fake_quantize(kept, scale, zero, levels))
            (changed,) = problem.mirror.module.forward(*batch.inputs)
            parameter.copy_(kept)
        # The softened predictions' divergence is what the costs are made of.
        soft = [torch.log_softmax(logits / 4, dim=1) for logits in (batch.float_outputs[0], changed)]
        measured.append(float((soft[0].exp() * (soft[0] - soft[1])).sum(1).mean()))
    # Costs are of second order and the network is small: they foretell the size and the order, not the third digit.
    ratio = np.array(measured) / costs[:, at]
    assert ratio.max() / ratio.min() < 3 < costs[:, at].max() / costs[:, at].min()
    assert int(np.argmax(measured)) == int(np.argmax(costs[:, at]))


def test_training_moves_widths_towards_the_budget(cnn_file: Path, image_file: Path) -> None:
    problem = make_problem(cnn_file, f"npz:{image_file}", 4.0, 4.0, "layer", steps=60)
    eights = problem.each_side(lambda kind, side: np.full(len(side.items.sizes), 8.0))
    learned = train_levels(problem, eights).precision
    assert problem.weights.mean(learned["weights"]) < 7.5
    assert problem.activations.mean(learned["activations"]) < 7.5


def test_a_budget_for_everything_is_uniform(cnn_file: Path, image_file: Path) -> None:
    problem = make_problem(cnn_file, f"npz:{image_file}", 8.0, 8.0, "layer", steps=5)
    (only,) = METHODS["refined"](problem)
    assert only == METHODS["uniform"](problem)[0]
    assert set(only.weights.values()) == {8.0}


def test_training_leaves_the_weights_alone(cnn_file: Path, image_file: Path) -> None:
    problem = make_problem(cnn_file, f"npz:{image_file}", 3.0, 4.0, "layer", steps=5)
    before = {name: p.detach().clone() for name, p in problem.mirror.module.named_parameters()}
    METHODS["refined"](problem)
    for name, parameter in problem.mirror.module.named_parameters():
        assert torch.equal(parameter, before[name])


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 7), st.integers(0, 1000))
def test_width_gradient_is_the_slope_of_the_error(bits: int, seed: int) -> None:
    """For the loss |y - x|^2 / 2 the gradient with respect to log2 b is the error power's expected change."""
    x = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, 20_000).astype(np.float32))
    log2_bits = torch.tensor(np.log2(bits), dtype=torch.float32, requires_grad=True)
    levels = levels_of(bits)
    scale = torch.tensor(2 / (levels - 1))
    y = LearnedWidth.apply(
        x, log2_bits, None, scale, torch.tensor((levels - 1) // 2 + 0.0), torch.tensor(float(levels))
    )
    ((y - x).square().sum() / 2).backward()
    # Error power is n R^2 / (12 (2^b - 1)^2); its derivative by log2 b:
    power = len(x) * 4 / 12 / (levels - 1) ** 2 / 2
    slope = -2 * power * bits * np.log(2) ** 2 * levels / (levels - 1)
    assert float(log2_bits.grad) == pytest.approx(slope, rel=0.1)


def test_forward_pass_uses_the_nearest_allowed_width(cnn_file: Path, image_file: Path) -> None:
    problem = make_problem(cnn_file, f"npz:{image_file}?count=32", 4.0, None, "layer")
    learner = problem.learner({"weights": np.full(len(problem.weights.sizes), 4.4)})
    site = problem.sites.weights[0]
    weight = problem.mirror.parameter(site.tensor).detach()
    quantized = learner.modules[site.tensor](weight)
    grid = problem.grids(site)[problem.weights.choices.tolist().index(4)]
    expected = fake_quantize(
        weight.numpy(), *(a.reshape(-1, 1, 1, 1) for a in (grid.scale, grid.zero_point, grid.levels))
    )
    np.testing.assert_array_equal(quantized.detach().numpy(), expected)
