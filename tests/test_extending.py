"""What a researcher adds: a resource, a choice per item, a method, a noise model. Each is a function or two and one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_allocators import make_problem as width_problem
from test_cli import run_inside
from test_energy import make_problem as energy_problem

from mpq_onnx.arithmetic.noise.model import RELATIVE, Mac, NoiseModel
from mpq_onnx.arithmetic.noise.trade_off import least_noise
from mpq_onnx.documents.resources.terms import ResourceFacts, Sum, Term
from mpq_onnx.precision.items import WidthItems
from mpq_onnx.precision.knapsack import allocate_widths
from mpq_onnx.precision.measures import MEAN
from mpq_onnx.precision.problem import Candidate, Problem
from mpq_onnx.precision.width_budgets import WidthSide
from mpq_onnx.registries import ACTIVATION_BUDGETS, METHODS, NOISE_MODELS, RESOURCES


def whole_bytes(facts: ResourceFacts) -> tuple[Sum, ...]:
    """Every weight takes whole bytes."""
    return (
        tuple(
            Term(
                entry.node,
                (entry.weight,),
                lambda bits, count=entry.weight_elements: -(-count * (bits or 32) // 8),
            )
            for entry in facts.entries
            if entry.weight_elements
        ),
    )


def test_a_resource(
    cnn_file: Path, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RESOURCES, "whole_bytes", whole_bytes)
    done = run_inside(
        "allocate", cnn_file, "--data", f"npz:{image_file}?count=32", "-o", tmp_path, "--max", "whole_bytes=700",
        "--method", "water-filling", "--rounding", "nearest", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    chosen = json.loads(done.stdout)["chosen"]
    document = json.loads((tmp_path / "allocation.json").read_text())
    assert all(entry["activation_bits"] is None for entry in document["nodes"])  # nothing bounds them
    counted = sum(
        -(-entry["weight_elements"] * entry["weight_bits"] // 8)
        for entry in document["nodes"]
        if entry["weight"]
    )
    assert chosen["resources"]["whole_bytes"] == counted <= 700


def items_with_masks() -> WidthItems:
    allowed = np.array([[True, True, True], [False, False, True], [True, False, False]])
    return WidthItems(
        ("any", "wide", "narrow"),
        (1, 1, 1),
        np.array([100, 100, 100]),
        np.array([2.0, 4.0, 8.0]),
        allowed,
        np.array([False, True, True]),
    )


@pytest.mark.parametrize("resource", [MEAN, "max"])
@pytest.mark.parametrize("budget", [4.0, 5.0, 8.0])
def test_choices_of_its_own_for_an_item(resource: str, budget: float) -> None:
    items = items_with_masks()
    side = WidthSide(items, budget, ACTIVATION_BUDGETS[resource])
    if side.least > budget:
        assert resource == "max"
        return
    costs = np.tile([9.0, 3.0, 1.0], (3, 1))
    for widths in (side.solve(costs), side.project(np.array([3.0, 5.0, 7.0]))):
        assert widths[1] == 8 and widths[2] == 2 and widths[0] in (2, 4, 8)
    assert side.uniform()[1:].tolist() == [8, 2] and 2 <= side.uniform()[0] <= budget
    assert items.choices_of("wide").tolist() == [2] and items.choices_of("any").tolist() == [0, 1, 2]


def test_masks_bound_the_least_budget() -> None:
    from mpq_onnx.errors import UsageError

    with pytest.raises(
        UsageError, match=r"3\.9 bits cannot be reached: the least that the choices allow is 4"
    ):
        allocate_widths(items_with_masks(), np.ones((3, 3)), 3.9)
    assert allocate_widths(items_with_masks(), np.ones((3, 3)), 4.0).tolist() == [2, 8, 2]


def first_is_widest(problem: Problem) -> list[Candidate]:
    """A method that knows nothing of bits or energies."""
    costs = {
        kind: np.zeros((len(side.items.sizes), 7))
        if kind != "energies"
        else np.ones((len(side.items.sizes), 1))
        for kind, side in problem.sides.items()
    }
    return [problem.candidate("mine", problem.each_side(lambda kind, side: side.solve(costs[kind])))]


def test_a_method(cnn_file: Path, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "mine", first_is_widest)
    data = f"npz:{image_file}?count=32"
    for name, arguments in (
        ("bits", ["--weight-bits", 4, "--activation-bits", 5, "--rounding", "nearest"]),
        ("energies", ["--noise", "shot", "--energy-per-mac", 50, "--repeats", 1]),
    ):
        done = run_inside(
            "allocate",
            cnn_file,
            "--data",
            data,
            "-o",
            tmp_path / name,
            "--method",
            "mine",
            "--json",
            *arguments,
        )
        assert done.returncode == 0, done.stderr
        assert "mine" in [each["name"] for each in json.loads(done.stdout)["candidates"]]


ADC_BITS = 10


def adc_variance(mac: Mac):
    """A converter of fixed step over the full scale of a sum: no energy per MAC changes its error."""
    step = mac.fan_in * mac.weight_range * mac.input_range / 2**ADC_BITS
    return step * step / 12


ADC = NoiseModel(
    "adc", RELATIVE, penalty=8.0, output_variance=adc_variance, falls_with=0.0,
    needs_weight_range=True, needs_input_range=True,
)  # fmt: skip


def test_noise_that_no_energy_lowers(
    cnn_file: Path, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NOISE_MODELS, "adc", ADC)
    spec = f"npz:{image_file}?count=64"
    alone, both = (
        energy_problem(cnn_file, spec, noises, "layer", steps=2)
        for noises in (("thermal",), ("thermal", "adc"))
    )
    found = [METHODS["closed-form"](problem)[0].energies for problem in (alone, both)]
    assert found[0] == found[1]  # the converter's error is there whatever is spent, so it has no say
    (flat,) = METHODS["closed-form"](energy_problem(cnn_file, spec, ("adc",), "layer", steps=2))
    assert len(set(flat.energies.values())) == 1
    done = run_inside(
        "allocate", cnn_file, "--data", spec, "-o", tmp_path / "out", "--json", "--weight-bits", 8,
        "--activation-bits", 8, "--rounding", "nearest", "--noise", "thermal", "--noise", "adc",
        "--energy-per-mac", 50, "--repeats", 2, "--steps", 2,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check = json.loads(done.stdout)["noise_check"]
    assert abs(float(check["onnxruntime_sqnr"]) - float(check["mirror_sqnr"])) < 1
    document = json.loads((tmp_path / "out" / "energy.json").read_text())
    assert document["settings"]["noise"] == ["thermal", "adc"]
    applied = run_inside(
        "apply",
        tmp_path / "out" / "digital" / "model.onnx",
        tmp_path / "out" / "energy.json",
        "-o",
        tmp_path / "a.onnx",
    )
    assert applied.returncode == 0, applied.stderr


@pytest.mark.parametrize("powers", [(1.0,), (1.0, 1.0), (0.5, 1.0), (1.0, 2.0), (0.0, 1.0, 2.0)])
def test_the_least_noise_is_the_least(powers: tuple[float, ...]) -> None:
    """No shift of energy between two items lowers the summed cost."""
    rng = np.random.default_rng(len(powers))
    costs, sizes = np.exp(rng.normal(0, 3, (6, len(powers)))), rng.integers(1, 100, 6).astype(float)
    total = 7.0 * sizes.sum()
    found = least_noise(costs, np.array(powers), sizes, total)
    found = found * total / (found * sizes).sum()

    def cost(energies: np.ndarray) -> float:
        return float((costs * energies[:, None] ** -np.array(powers)).sum())

    for one in range(6):
        for other in range(6):
            moved = found.copy()
            amount = 1e-3 * min(found[one] * sizes[one], found[other] * sizes[other])
            moved[one] += amount / sizes[one]
            moved[other] -= amount / sizes[other]
            assert cost(moved) >= cost(found) * (1 - 1e-9)


def test_costs_of_two_models_stand_side_by_side(cnn_file: Path, image_file: Path) -> None:
    from mpq_onnx.precision.fisher import measured_costs

    spec = f"npz:{image_file}?count=32"
    both = measured_costs(energy_problem(cnn_file, spec, ("thermal", "shot"), "layer"))["energies"]
    for index, noise in enumerate(("thermal", "shot")):
        alone = measured_costs(energy_problem(cnn_file, spec, (noise,), "layer"))["energies"]
        np.testing.assert_allclose(both[:, index], alone[:, 0], rtol=1e-5)


def test_widths_of_a_masked_item_are_learned_among_its_own(cnn_file: Path, image_file: Path) -> None:
    problem = width_problem(cnn_file, f"npz:{image_file}?count=32", 4.0, None, "layer", steps=2)
    learner = problem.learner(problem.each_side(lambda kind, side: side.uniform()))
    assert {len(module.widths) for module in learner.modules.values()} == {len(problem.weights.choices)}
