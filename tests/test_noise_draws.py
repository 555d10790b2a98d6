"""Normals from a bank against normals drawn one by one: the same noise within what theory says, in file and mirror."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from conftest import make_model
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.errors import ModelError, UsageError
from mpq_onnx.graph.model_file import clone, load_model, model_bytes
from mpq_onnx.graph.placement.mac_sites import mac_sites
from mpq_onnx.mirror.noise_draws import DRAWS
from mpq_onnx.ops.draws.bank import BANK, LONGEST_ROW
from mpq_onnx.passes.insert_noise import InsertNoisePass, NodeNoise
from mpq_onnx.passes.redraw_noise import RedrawNoisePass
from mpq_onnx.passes.reseed_noise import ReseedNoisePass, draws_of, noisy_nodes
from mpq_onnx.registries import NOISE_DRAWS

ROWS = BANK // LONGEST_ROW
RUNS = 20
MANY = (8, 64, 25, 40)
"""Shape of 512,000 normals, many times what the bank holds."""


def product(columns: int) -> ir.Model:
    """MatMul [n, 4] x [4, columns]."""
    tensors = {"w": np.ones((4, columns), np.float32)}
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "mac")
    proto = make_model(
        [node], [("x", TensorProto.FLOAT, ["n", 4])], [("y", ["n", columns])], tensors, opset=21
    )
    proto.ir_version = 10
    return ir.from_proto(proto)


def noisy_product(
    columns: int, draws: str, seed: int = 0, noise: str = "shot", energy: float = 4.0
) -> ir.Model:
    """Its noise has deviation 1 for inputs of ones: shot at an energy of 4, thermal at 1."""
    model = product(columns)
    (site,) = mac_sites(model, {"x": (1, 4), "y": (1, columns)}, {})
    site = dataclasses.replace(site, weight_range=(50.0,), input_range=1.0)
    InsertNoisePass({"mac": NodeNoise(site, np.array([energy]))}, (noise,), seed, draws)(model)
    return model


def opened(model: ir.Model) -> Callable[[int], np.ndarray]:
    """examples -> the noise of one more run."""
    session = ort.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    return lambda examples: session.run(None, {"x": np.ones((examples, 4), np.float32)})[0] - 4


def onnxruntime_normals(draws: str, seed: int) -> Callable[[], np.ndarray]:
    columns = math.prod(MANY[1:])
    run = opened(noisy_product(columns, draws, seed))
    return lambda: run(MANY[0]).reshape(MANY)


def mirror_normals(draws: str, seed: int) -> Callable[[], np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    like = torch.empty(MANY)
    return lambda: DRAWS[draws](like, generator).numpy()


SOURCES = {"onnxruntime": onnxruntime_normals, "mirror": mirror_normals}


@pytest.mark.parametrize("draws", NOISE_DRAWS)
@pytest.mark.parametrize("source", SOURCES)
def test_moments_are_those_of_normals(source: str, draws: str) -> None:
    draw = SOURCES[source](draws, 1)
    values = np.stack([draw() for _ in range(RUNS)]).astype(np.float64)
    # From a bank no more is known than from the normals that it holds; its mean is that of signs over rows.
    known = RUNS * (BANK if draws == "bank" else math.prod(MANY))
    assert abs(values.mean()) < 5 / math.sqrt(values.size)
    assert abs(values.var() - 1) < 5 * math.sqrt(2 / known)
    assert abs((values**3).mean()) < 5 * math.sqrt(15 / values.size)
    assert abs((values**4).mean() - 3) < 5 * math.sqrt(96 / known)
    assert np.abs(values).max() > 4.2  # tails: one in 40,000


@pytest.mark.parametrize("draws", NOISE_DRAWS)
@pytest.mark.parametrize("source", SOURCES)
def test_elements_of_positions_channels_examples_runs_and_seeds_are_uncorrelated(
    source: str, draws: str
) -> None:
    draw, other = SOURCES[source](draws, 1), SOURCES[source](draws, 2)
    first, second, elsewhere = draw(), draw(), other()
    pairs = {
        "positions": (first[..., 1:], first[..., :-1]),
        "rows of positions": (first[:, :, 1:], first[:, :, :-1]),
        "channels": (first[:, 1:], first[:, :-1]),
        "examples": (first[1:], first[:-1]),
        "a row's length apart": (
            first.reshape(-1, LONGEST_ROW)[1:],
            first.reshape(-1, LONGEST_ROW)[:-1],
        ),
        "runs": (first, second),
        "seeds": (first, elsewhere),
    }
    for name, (one, another) in pairs.items():
        # Rows that meet are alike as a whole. Inside a row signs cancel, and as much is known as the bank has normals.
        inside = draws == "bank" and name in ("positions", "rows of positions")
        spread = math.sqrt((1 + LONGEST_ROW / ROWS) / one.size + inside / BANK)
        found = float(np.mean(one.astype(np.float64) * another))
        assert abs(found) < 5 * spread, name


@pytest.mark.parametrize("source", SOURCES)
def test_squares_meet_as_seldom_as_the_page_says(source: str) -> None:
    """Correlation of the squares of two elements at one place of their rows: 1 / ROWS, and none at two places."""
    draw = SOURCES[source]("bank", 3)
    same, shifted = [], []
    for _ in range(RUNS):
        squares = draw().astype(np.float64).reshape(-1, LONGEST_ROW) ** 2 - 1
        half = len(squares) // 2
        same.append((squares[:half] * squares[half : 2 * half]).mean() / 2)
        shifted.append((squares[:half] * np.roll(squares[half : 2 * half], 1, axis=1)).mean() / 2)
    for found, wanted in ((same, 1 / ROWS), (shifted, 0.0)):
        error = np.std(found, ddof=1) / math.sqrt(RUNS)
        assert abs(np.mean(found) - wanted) < 5 * error
    assert np.mean(same) < 3 / ROWS


@pytest.mark.parametrize("source", SOURCES)
def test_a_weighted_sum_is_as_normal_as_the_page_says(source: str) -> None:
    """Excess kurtosis of a sum over elements is at most 6 / ROWS, its variance that of independent normals."""
    draw = SOURCES[source]("bank", 4)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((math.prod(MANY), 16)) / math.sqrt(math.prod(MANY))
    sums = np.concatenate([draw().reshape(1, -1) @ weights for _ in range(100)]).ravel()
    count = sums.size
    assert abs((sums**2).mean() - 1) < 5 * math.sqrt(2 / count)
    assert abs((sums**4).mean() / (sums**2).mean() ** 2 - 3) < 5 * math.sqrt(24 / count) + 6 / ROWS


@pytest.mark.parametrize("examples", [0, 1, 2, 7, 33, 70])
@pytest.mark.parametrize("columns", [1, 61, 1009, 4099])
def test_any_shape_gets_its_noise(columns: int, examples: int) -> None:
    """None, one element, primes (whose rows are short), below and above what the bank holds."""
    # Thermal: onnxruntime reduces no examples at all to a wrong shape, so that there is no shot noise of none.
    run = opened(noisy_product(columns, "bank", noise="thermal", energy=1.0))
    noise = run(examples)
    assert noise.shape == (examples, columns)
    if noise.size > 100:
        known = min(noise.size, BANK)
        assert abs(noise.astype(np.float64).var() - 1) < 5 * math.sqrt(2 / known) + 1e-6
    if 0 < noise.size <= BANK:
        assert (
            len(np.unique(np.abs(noise))) > 0.98 * noise.size
        )  # y = 4 + noise in float32 rounds a few together


def test_seeds_replay_and_common_ones_are_those_of_exact_files() -> None:
    for draws in NOISE_DRAWS:
        first, again = (opened(noisy_product(5000, draws)) for _ in range(2))
        for _ in range(2):
            np.testing.assert_array_equal(first(10), again(10))
    bank, exact = noisy_product(5, "bank"), noisy_product(5, "exact")
    for model in (bank, exact):
        ReseedNoisePass(9)(model)
    (banked,), (plain,) = noisy_nodes(bank), noisy_nodes(exact)
    for name in ("seed", "weight_seed"):
        assert banked.attributes[name].as_float() == plain.attributes[name].as_float()
    seeds = [banked.attributes[name].as_float() for name in banked.attributes if name.endswith("seed")]
    assert len(set(seeds)) == 4


def test_files_without_the_attribute_are_exact_and_can_be_redrawn() -> None:
    old = noisy_product(5000, "exact")
    del noisy_nodes(old)[0].attributes["noise_draws"]
    assert draws_of(noisy_nodes(old)[0]) == "exact"
    ReseedNoisePass(3)(old)
    assert opened(old)(4).std() == pytest.approx(1, abs=0.05)
    redrawn = clone(old)
    assert RedrawNoisePass("bank")(redrawn).modified and not RedrawNoisePass("bank")(redrawn).modified
    ReseedNoisePass(3)(redrawn)
    assert [name for _, name, *_ in redrawn.functions] == ["BankShotMatMul"]
    assert opened(redrawn)(40).std() == pytest.approx(1, abs=0.05)
    assert RedrawNoisePass("exact")(redrawn).modified
    ReseedNoisePass(3)(redrawn)
    np.testing.assert_array_equal(opened(redrawn)(4), opened(old)(4))


def test_a_way_that_is_none_is_named() -> None:
    model = noisy_product(5, "bank")
    noisy_nodes(model)[0].attributes.add(ir.AttrString("noise_draws", "dice"))
    with pytest.raises(ModelError, match=r"noise_draws.*none of bank, exact"):
        ReseedNoisePass(0)(model)


def test_outputs_of_a_network_are_distributed_alike(
    cnn_file: Path, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deviation of every logit over repeats, and the figures of evaluate; the file, its document and card say which way."""
    spec = f"npz:{image_file}?count=64"
    options = mpq_onnx.EnergyOptions(("shot",), method="uniform", repeats=1)
    mpq_onnx.allocate_energy(cnn_file, spec, tmp_path / "bank", energy_per_mac=3.0, options=options)
    document = tmp_path / "bank" / "energy.json"
    assert '"noise_draws": "bank"' in document.read_text()
    found = mpq_onnx.apply_energy(cnn_file, document, tmp_path / "exact.onnx", noise_draws="exact")
    assert found.allocation.settings.noise_draws == "exact"
    files = {"bank": tmp_path / "bank" / "model.onnx", "exact": tmp_path / "exact.onnx"}
    for draws, path in files.items():
        assert {draws_of(node) for node in noisy_nodes(load_model(path))} == {draws}
        assert mpq_onnx.card(path)["noise"]["noise draws"] == draws
    images = np.load(image_file)["images"]
    spreads = {}
    for draws, path in files.items():
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        feeds = {session.get_inputs()[0].name: images[:64].astype(np.float32)}
        logits = np.stack([session.run(None, feeds)[0] for _ in range(200)]).astype(np.float64)
        spreads[draws] = logits.var(axis=0)
    ratio = spreads["bank"].mean() / spreads["exact"].mean()
    assert abs(ratio - 1) < 0.03
    each = spreads["bank"] / spreads["exact"]
    assert np.abs(np.log(each)).max() < 6 * math.sqrt(4 / 200)
    with pytest.raises(UsageError, match="has no noise"):
        mpq_onnx.evaluate(cnn_file, spec, noise_draws="exact")
    same = [
        mpq_onnx.evaluate(files[file], spec, baseline=cnn_file, noise_draws="exact", seed=5, repeats=2)
        for file in files
    ]
    assert same[0].evaluation.comparison == same[1].evaluation.comparison


def test_a_partial_batch_has_a_noise_of_its_own(cnn_file: Path, image_file: Path, tmp_path: Path) -> None:
    spec = f"npz:{image_file}?count=50"
    options = mpq_onnx.EnergyOptions(("shot",), method="uniform", repeats=1)
    result = mpq_onnx.allocate_energy(cnn_file, spec, tmp_path, energy_per_mac=9.0, options=options)
    figures = [
        mpq_onnx.evaluate(result.model_path, spec, baseline=cnn_file, batch_size=16, seed=seed, repeats=2)
        for seed in (0, 0, 1)
    ]
    assert figures[0].evaluation.examples == 50
    assert figures[0].evaluation.comparison == figures[1].evaluation.comparison
    assert figures[0].evaluation.comparison != figures[2].evaluation.comparison
