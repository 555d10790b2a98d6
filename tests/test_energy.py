"""Energies: levels, budgets, the closed form against brute force, training, and the allocation document."""

import dataclasses
import itertools
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_onnx.arithmetic.noise.equivalent_bits import noise_equivalent_bits
from mpq_onnx.documents.energy_allocation import (
    EnergyAllocation,
    EnergySettings,
    make_energy_allocation,
)
from mpq_onnx.errors import AllocationError
from mpq_onnx.graph.placement.mac_sites import mac_sites
from mpq_onnx.mirror import build_mirror
from mpq_onnx.mirror.straight_through import straight_through
from mpq_onnx.precision.energies import EnergyProblem
from mpq_onnx.precision.fisher import measured_costs
from mpq_onnx.precision.task_loss import distance_from_float
from mpq_onnx.precision.training import train_levels
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.precision.training_settings import TrainingSettings
from mpq_onnx.registries import ENERGY_LEVELS, METHODS
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runtime.tensors import tensor_shapes

positive = st.floats(0.01, 100.0)


@given(st.lists(st.tuples(positive, st.integers(1, 1000)), min_size=1, max_size=20), st.floats(1.0, 50.0))
def test_levels_keep_the_budget(items: list[tuple[float, int]], budget: float) -> None:
    wanted, sizes = (np.array(column, float) for column in zip(*items, strict=True))
    total = budget * sizes.sum()
    for levels in ENERGY_LEVELS.values():
        found = levels.fit(wanted, sizes, total)
        assert (found * sizes).sum() <= total * (1 + 1e-9)
        assert (found > 0).all()
    assert (found >= 1).all() and (found == np.round(found)).all()  # repeats


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(positive, st.integers(1, 4)), min_size=3, max_size=3), st.integers(2, 4))
def test_repeats_are_within_one_step_of_the_best(items: list[tuple[float, int]], budget: int) -> None:
    """Every choice of three whole numbers, against the fit; the fit may leave less than one step's energy unspent."""
    wanted, sizes = (np.array(column, float) for column in zip(*items, strict=True))
    costs = wanted**2 * sizes
    total = budget * sizes.sum()
    found = ENERGY_LEVELS["repeats"].fit(wanted, sizes, total)
    most = int(total)
    smaller = total - sizes.max()
    best_of_less = min(
        (costs / np.array(choice)).sum()
        for choice in itertools.product(range(1, most + 1), repeat=3)
        if (np.array(choice) * sizes).sum() <= max(smaller, sizes.sum())
    )
    assert (costs / found).sum() <= best_of_less * (1 + 1e-9)


def test_repeats_pass_gradients_straight_through() -> None:
    log_energy = torch.tensor([0.1, 1.0, 2.3], requires_grad=True)
    used = ENERGY_LEVELS["repeats"].nearest(log_energy)
    np.testing.assert_allclose(used.detach().exp().numpy(), [1.0, 3.0, 10.0], rtol=1e-5)
    used.sum().backward()
    np.testing.assert_array_equal(log_energy.grad.numpy(), np.ones(3))


def test_noise_equivalent_bits() -> None:
    # 255 steps of a uniform quantizer: its own rounding error is worth its own width.
    assert noise_equivalent_bits(255.0, 1 / np.sqrt(12) * (1 + 1e-9)) == pytest.approx(8.0)
    assert noise_equivalent_bits(1.0, 1e9) == pytest.approx(1.0)


def make_problem(model: Path, spec: str, noises=("shot",), granularity="channel", energy=5.0, **training):
    base = load_float_model(model)
    dataset = base.open_data(spec)
    mirror = build_mirror(base.model)
    mirror.module.requires_grad_(False)
    sites = mac_sites(base.model, tensor_shapes(base.model, dataset, "cpu"), {})
    sites = tuple(dataclasses.replace(site, weight_range=(1.0,), input_range=2.0) for site in sites)
    return EnergyProblem(
        mirror=mirror,
        sites=sites,
        noises=noises,
        energy_per_mac=energy,
        granularity=granularity,
        allowed=ENERGY_LEVELS["any"],
        training=TrainingSettings(**{"steps": 20, "batch_size": 16, "learning_rate": 0.05, **training}),
        data=TrainingData(dataset, mirror, torch.device("cpu")),
        log=logging.Logger("test"),
    )


def encoder_or_cnn(name: str, cnn_file: Path, encoder_file: Path, image_file: Path) -> tuple[Path, str]:
    return (cnn_file, f"npz:{image_file}?count=64") if name == "cnn" else (encoder_file, "random?count=64")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noises", [("thermal",), ("shot",), ("weight",), ("thermal", "shot", "weight")])
@pytest.mark.parametrize("network", ["cnn", "encoder"])
def test_every_method_spends_the_budget(
    network: str, noises: tuple[str, ...], method: str, cnn_file: Path, encoder_file: Path, image_file: Path
) -> None:
    problem = make_problem(*encoder_or_cnn(network, cnn_file, encoder_file, image_file), noises, steps=3)
    macs = sum(site.macs for site in problem.sites)
    for candidate in METHODS[method](problem):
        spent = sum(site.macs * np.mean(candidate.energies[site.node]) for site in problem.sites)
        assert spent / macs == pytest.approx(problem.energy_per_mac, rel=1e-6)
        assert spent / macs <= problem.energy_per_mac * (1 + 1e-9)


@pytest.mark.parametrize("noise", ["thermal", "shot", "weight"])
def test_costs_foretell_the_distance(noise: str, cnn_file: Path, image_file: Path) -> None:
    """Noise at one node alone: its measured distance goes with its cost, over nodes whose costs differ widely."""
    problem = make_problem(cnn_file, f"npz:{image_file}", (noise,), "layer")
    costs = measured_costs(problem)["energies"].sum(axis=1)
    loud = np.full(len(costs), 1e12)
    positions = np.arange(len(problem.data))
    measured = []
    for item in range(len(costs)):
        energies = loud.copy()
        energies[item] = costs[item] / costs.mean() * 2000  # equal cost / E for all
        noisy = problem.noisy(energies)
        noisy.generator.manual_seed(0)
        total = 0.0
        with torch.no_grad():
            for _ in range(8):
                batch = problem.data.batch(positions)
                outputs = noisy.mirror.module.forward(*batch.inputs)
                total += float(distance_from_float(outputs, batch).mean())
        measured.append(total)
    assert max(measured) / min(measured) < 2.5, (costs, measured)


def test_allocated_is_nearer_than_uniform(cnn_file: Path, image_file: Path) -> None:
    problem = make_problem(cnn_file, f"npz:{image_file}", ("shot",), energy=3.0)
    (uniform,) = METHODS["uniform"](problem)
    closed, refined = METHODS["refined"](problem)

    def distance(candidate) -> float:
        noisy = problem.noisy(problem.items.join(problem_items(candidate)))
        noisy.generator.manual_seed(9)
        batch = problem.data.batch(np.arange(len(problem.data)))
        with torch.no_grad():
            return float(
                np.mean(
                    [
                        float(distance_from_float(noisy.mirror.module.forward(*batch.inputs), batch).mean())
                        for _ in range(10)
                    ]
                )
            )

    def problem_items(candidate) -> dict[str, np.ndarray]:
        counts = dict(zip(problem.items.names, problem.items.counts, strict=True))
        return {name: np.broadcast_to(each, (counts[name],)) for name, each in candidate.energies.items()}

    assert distance(closed) < 0.9 * distance(uniform)
    assert distance(refined) < 1.05 * distance(closed)


class InterruptedData:
    """Training data that Ctrl-C hits after a number of batches."""

    def __init__(self, data: TrainingData, batches: int) -> None:
        self.data, self.left = data, batches

    def __len__(self) -> int:
        return len(self.data)

    def __getattr__(self, name: str):
        return getattr(self.data, name)

    def stream(self, parts):
        for batch in self.data.stream(parts):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            yield batch


def test_interrupted_training_goes_on_with_the_same_noise(
    cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    problem = make_problem(cnn_file, f"npz:{image_file}", steps=60)
    start = {"energies": np.full(len(problem.items.sizes), 5.0)}
    whole = train_levels(problem, start).precision["energies"]
    saved = dataclasses.replace(problem, checkpoint=str(tmp_path / "state.pt"))
    with pytest.raises(KeyboardInterrupt):
        train_levels(dataclasses.replace(saved, data=InterruptedData(problem.data, 55)), start)
    np.testing.assert_array_equal(train_levels(saved, start).precision["energies"], whole)
    assert not np.array_equal(whole, start["energies"])


def test_straight_through_mirror_of_a_qdq_file(cnn_file: Path, image_file: Path) -> None:
    from test_quantized_graph import CASES, quantize

    _, graph, simulated, feeds = quantize(cnn_file, f"npz:{image_file}?count=32", *CASES["eight"], "int8")
    plain = build_mirror(graph)
    plain.module.requires_grad_(False)
    trainable = straight_through(plain)
    x = torch.from_numpy(feeds["images"]).requires_grad_()
    (found,) = trainable.module.forward(x)
    with torch.no_grad():
        (wanted,) = simulated.module.forward(x.detach())
        (integer,) = plain.module.forward(x.detach())
    np.testing.assert_allclose(found.detach().numpy(), integer.numpy(), atol=1e-5)
    assert (found.argmax(1) == wanted.argmax(1)).float().mean() > 0.95
    (gradient,) = torch.autograd.grad(found.square().sum(), x)
    assert gradient.abs().mean() > 0


def make_document(cnn_file: Path, image_file: Path):
    problem = make_problem(cnn_file, f"npz:{image_file}?count=16")
    energies = {site.node: tuple(np.linspace(1.0, 2.0, site.channels).tolist()) for site in problem.sites}
    choices = EnergySettings(("shot",), "closed-form", "channel", "any", "none", 0)
    return problem.sites, make_energy_allocation("0" * 64, choices, problem.sites, energies, 2.0)


def test_document_round_trip_and_accounting(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    sites, allocation = make_document(cnn_file, image_file)
    allocation.save(tmp_path / "energy.json")
    loaded = EnergyAllocation.load(tmp_path / "energy.json")
    assert loaded == allocation
    loaded.check_against(sites)
    assert loaded.mean_energy_per_mac == pytest.approx(1.5)
    assert loaded.total_energy == pytest.approx(1.5 * sum(site.macs for site in sites))
    assert loaded.total_attojoules == pytest.approx(0.128 * loaded.total_energy)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda d: d["nodes"][0].update(energy_per_mac=-1), "nodes/0/energy_per_mac"),
        (lambda d: d["settings"].update(noise=["pink"]), "settings/noise/0"),
        (lambda d: d.update(version=2), "version"),
    ],
)
def test_wrong_documents_name_the_place(change, place: str, cnn_file, image_file, tmp_path: Path) -> None:
    _, allocation = make_document(cnn_file, image_file)
    document = json.loads(json.dumps(allocation.document()))
    change(document)
    path = tmp_path / "energy.json"
    path.write_text(json.dumps(document))
    with pytest.raises(AllocationError, match=place):
        EnergyAllocation.load(path)
