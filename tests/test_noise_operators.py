"""Noisy operators in onnxruntime and in the mirror: the measured standard deviation is the formula's, computed here by hand."""

import functools
import itertools
import math

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from conftest import make_model
from onnx import TensorProto, helper

from mpq_onnx.graph.model_file import model_bytes
from mpq_onnx.graph.placement.mac_sites import MacSite, mac_sites
from mpq_onnx.mirror import build_mirror
from mpq_onnx.mirror.noisy_mac import with_noise
from mpq_onnx.ops.draws import bank
from mpq_onnx.passes.insert_noise import InsertNoisePass, NodeNoise
from mpq_onnx.passes.remove_noise import RemoveNoisePass
from mpq_onnx.passes.reseed_noise import ReseedNoisePass
from mpq_onnx.registries import ENERGY_LEVELS, NOISE_DRAWS

RUNS = 4000
"""Deviations over 8 or more values each are then known to better than 1 %."""
COPIES = 100
"""Of the same examples in one run of the mirror, where every output has noise of its own: as good as so many runs."""
SMALL_BANK = 128
"""Normals: so few that the cases' outputs, which are small, read them several times over."""
TOLERANCE = 0.02
"""Of a deviation by channel: four standard errors at most."""


class Case:
    """One operator: x [shape], w, the fan-in counted by hand, and the sums over products done the slow way."""

    def __init__(self, op_type, x, w, fan_in, attributes=None, activation_weight=False) -> None:
        self.op_type, self.x_shape, self.fan_in = op_type, x, fan_in
        self.attributes, self.activation_weight = attributes or {}, activation_weight
        self.w = np.random.default_rng(0).standard_normal(w).astype(np.float32)

    @property
    def has_examples_first(self) -> bool:
        """Whether the input's first axis runs over examples, and nothing else has such an axis."""
        return not self.activation_weight and not self.attributes.get("transA", 0)

    def model(self) -> ir.Model:
        rng = np.random.default_rng(1)
        self.x = (rng.standard_normal(self.x_shape) * 2).astype(np.float32)
        inputs = [("x", TensorProto.FLOAT, list(self.x_shape))]
        constants = {"w": self.w}
        if self.activation_weight:
            inputs.append(("w", TensorProto.FLOAT, list(self.w.shape)))
            constants = {}
        node = helper.make_node(self.op_type, ["x", "w"], ["y"], "mac", **self.attributes)
        rank = max(len(self.x_shape), self.w.ndim)
        outputs = [("y", [f"size{axis}" for axis in range(rank)])]
        proto = make_model([node], inputs, outputs, constants, opset=21)
        proto.ir_version = 10
        self.feeds = {"x": self.x, **({"w": self.w} if self.activation_weight else {})}
        model = ir.from_proto(proto)
        self.y = self.run(model)
        return model

    def site(self, model: ir.Model, **ranges) -> MacSite:
        shapes = {"x": self.x.shape, "w": self.w.shape, "y": self.y.shape}
        (site,) = mac_sites(model, shapes, {})
        return MacSite(**{**site.__dict__, **ranges})

    def run(self, model: ir.Model) -> np.ndarray:
        session = ort.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
        return session.run(None, self.feeds)[0]

    @functools.cached_property
    def square_sums(self) -> np.ndarray:
        """||x_p||^2 * ||w_o,p||^2 of every output, by autograd: dy/dw holds the inputs, dy/dx the weights of each product."""
        over_w, over_x = self._gradient_squares
        return over_w * over_x

    @functools.cached_property
    def weight_square_sums(self) -> np.ndarray:
        """Sum of x^2 over the products of every output: variance of the output for weights of unit variance."""
        return self._gradient_squares[0]

    @functools.cached_property
    def _gradient_squares(self) -> np.ndarray:
        """||dy/dw||^2 and ||dy/dx||^2 of every output y, [2, *shape]."""
        mirror = build_mirror(self.model())
        x, w = (torch.from_numpy(array).double().requires_grad_() for array in (self.x, self.w))
        node = next(node for node in mirror.module.graph.nodes if node.meta.get("onnx_name") == "mac")
        y = node.target(x, w, **node.kwargs)
        sums = []
        for element in y.reshape(-1):
            over_w, over_x = torch.autograd.grad(element, (w, x), retain_graph=True)
            sums.append([float(over_w.square().sum()), float(over_x.square().sum())])
        return np.array(sums).T.reshape(2, *y.shape)


CASES = {
    "conv": Case("Conv", (2, 3, 5, 6), (4, 3, 3, 3), 27, {"pads": [1, 1, 1, 1]}),
    "conv stride dilation asymmetric pads": Case(
        "Conv", (1, 2, 9, 8), (4, 2, 3, 2), 12, {"pads": [2, 0, 1, 1], "strides": [2, 3], "dilations": [2, 1]}
    ),
    "conv groups": Case("Conv", (1, 6, 5, 5), (4, 3, 3, 3), 27, {"group": 2, "pads": [1, 1, 1, 1]}),
    "conv depthwise": Case("Conv", (2, 4, 6, 6), (4, 1, 3, 3), 9, {"group": 4, "pads": [1, 1, 1, 1]}),
    "conv 1d same": Case("Conv", (2, 3, 9), (4, 3, 4), 12, {"auto_pad": "SAME_UPPER"}),
    "conv transpose": Case("ConvTranspose", (1, 3, 4, 4), (3, 4, 3, 3), 27, {"pads": [1, 1, 1, 1]}),
    "conv transpose groups stride": Case(
        "ConvTranspose", (1, 4, 4, 4), (4, 2, 4, 4), 8, {"group": 2, "strides": [2, 2]}
    ),
    "gemm": Case("Gemm", (6, 7), (7, 4), 7),
    "gemm transposed alpha": Case("Gemm", (7, 6), (4, 7), 7, {"transA": 1, "transB": 1, "alpha": 0.5}),
    "matmul": Case("MatMul", (2, 3, 7), (7, 4), 7),
    "matmul of activations": Case("MatMul", (2, 2, 3, 5), (2, 2, 5, 4), 5, activation_weight=True),
    "matmul broadcasting": Case("MatMul", (3, 5), (2, 5, 4), 5, activation_weight=True),
    "einsum": Case("Einsum", (2, 3, 4, 2), (2, 3, 5, 2), 2, {"equation": "bhid,bhjd->bhij"}, True),
}


NOISES = ("thermal", "shot", "weight")


def channel_axis(case: Case) -> int:
    return 1 if case.op_type in ("Conv", "ConvTranspose") else case.y.ndim - 1


def spread_over(case: Case, values: np.ndarray) -> np.ndarray:
    """A vector over channels, broadcasting over the output."""
    shape = [1] * case.y.ndim
    shape[channel_axis(case)] = -1
    return values.reshape(shape) if values.size > 1 else values


def expected(case: Case, noise: str, site: MacSite, energy: np.ndarray) -> np.ndarray:
    """Standard deviation of every output, straight from the papers' formulas."""
    e, r = spread_over(case, energy), spread_over(case, np.array(site.weight_range))
    gain = case.attributes.get("alpha", 1.0)
    if noise == "thermal":
        return np.broadcast_to(0.01 * gain * np.sqrt(case.fan_in / e) * r * site.input_range, case.y.shape)
    if noise == "shot":
        # square_sums sees alpha in both factors.
        return np.sqrt(case.square_sums / (case.fan_in * e)) / gain
    over_w = np.sqrt(case.weight_square_sums)
    return 0.1 * r / np.sqrt(e) * over_w


def noisy_runs(model: ir.Model, feeds: dict[str, np.ndarray], runs: int) -> np.ndarray:
    content = model_bytes(model)
    onnx.checker.check_model(content, full_check=True)
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, feeds)[0] for _ in range(runs)])


def mirror_runs(
    case: Case, site: MacSite, noises: tuple[str, ...], energy: np.ndarray, runs: int
) -> np.ndarray:
    mirror = build_mirror(case.model())
    noisy = with_noise(mirror, [site], noises, {"mac": energy}, ENERGY_LEVELS["any"])
    noisy.generator.manual_seed(0)
    copies = COPIES if case.has_examples_first and "weight" not in noises else 1
    inputs = [
        torch.from_numpy(np.concatenate([case.feeds[name]] * copies) if copies > 1 else case.feeds[name])
        for name in mirror.inputs
    ]
    with torch.no_grad():
        draws = [noisy.mirror.module.forward(*inputs)[0].numpy() for _ in range(runs // copies)]
    return np.stack(draws).reshape(runs, *case.y.shape)


def check_noise(case: Case, draws: np.ndarray, wanted: np.ndarray) -> None:
    errors = draws.astype(np.float64) - case.y
    # By channel: root mean square over everything else, against that of the formula.
    axes = tuple(axis for axis in range(errors.ndim) if axis != channel_axis(case) + 1)
    found = np.sqrt((errors**2).mean(axis=axes))
    formula = np.sqrt((wanted**2).mean(axis=tuple(axis - 1 for axis in axes if axis)))
    np.testing.assert_allclose(found, formula, rtol=TOLERANCE)
    # Element by element, with the wider spread that one element's RUNS draws have.
    np.testing.assert_allclose(errors.std(axis=0), wanted, rtol=6 / math.sqrt(2 * RUNS), atol=1e-6)
    assert np.abs(errors.mean(axis=0) / np.maximum(wanted, 1e-9)).max() < 6 / math.sqrt(RUNS)


@pytest.fixture(autouse=True)
def small_bank(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bank is smaller than what is read from it."""
    monkeypatch.setattr(bank, "BANK", SMALL_BANK)


@pytest.fixture(params=NOISE_DRAWS)
def draws_from(request: pytest.FixtureRequest) -> str:
    """A way of drawing normals."""
    return str(request.param)


Noisy = tuple[Case, ir.Model, MacSite, np.ndarray]
"""A case, its model, its site and an energy a channel."""


def with_energies(case: Case, low: float, high: float) -> Noisy:
    """Energies from `low` to `high` over the channels."""
    model = case.model()
    channels = 1 if case.activation_weight else 4
    site = case.site(model, weight_range=tuple(np.linspace(1.0, 2.5, channels)), input_range=3.0)
    assert site.fan_in == case.fan_in
    assert site.channels == channels
    return case, model, site, np.linspace(low, high, channels)


@pytest.fixture(params=CASES)
def noisy_case(request: pytest.FixtureRequest) -> Noisy:
    return with_energies(CASES[request.param], 2.0, 11.0)


@pytest.mark.parametrize("noise", NOISES)
def test_deviation_in_the_file_is_the_formula(noisy_case: Noisy, noise: str, draws_from: str) -> None:
    case, model, site, energy = noisy_case
    InsertNoisePass({"mac": NodeNoise(site, energy)}, (noise,), 3, draws_from)(model)
    check_noise(case, noisy_runs(model, case.feeds, RUNS), expected(case, noise, site, energy))


@pytest.mark.parametrize("noise", NOISES)
def test_deviation_in_the_mirror_is_the_formula(noisy_case: Noisy, noise: str) -> None:
    case, _, site, energy = noisy_case
    check_noise(case, mirror_runs(case, site, (noise,), energy, RUNS), expected(case, noise, site, energy))


def test_several_noises_add_their_variances_and_fall_with_energy(draws_from: str) -> None:
    case = CASES["conv groups"]
    model = case.model()
    site = case.site(model, weight_range=(1.5,), input_range=3.0)
    deviations = []
    for energy in (np.array([5.0]), np.array([20.0])):
        noisy = case.model()
        InsertNoisePass({"mac": NodeNoise(site, energy)}, ("weight", "shot", "thermal"), 1, draws_from)(noisy)
        wanted = np.sqrt(
            sum(expected(case, each, site, energy) ** 2 for each in ("thermal", "shot", "weight"))
        )
        draws = noisy_runs(noisy, case.feeds, RUNS)
        check_noise(case, draws, wanted)
        deviations.append((draws - case.y).std())
    assert deviations[0] / deviations[1] == pytest.approx(2.0, rel=0.01)


TOGETHER_RUNS = 800
TOGETHER = [
    (CASES[name], noises)
    for name in ("conv groups", "conv transpose groups stride", "gemm transposed alpha", "matmul", "einsum")
    for noises in (*itertools.combinations(NOISES, 2), NOISES)
]


@pytest.fixture(params=TOGETHER, ids=lambda each: f"{each[0].op_type}-{'+'.join(each[1])}")
def loud_case(request: pytest.FixtureRequest) -> tuple[Noisy, tuple[str, ...]]:
    """A case and its noises, at energies where that of the weights is larger than they are."""
    case, noises = request.param
    return with_energies(case, 0.02, 0.11), noises


def check_variance(
    case: Case, draws: np.ndarray, noises: tuple[str, ...], site: MacSite, energy: np.ndarray
) -> None:
    """Shot noise must not see noisy weights. A variance of so many draws has the relative deviation sqrt(2 / draws)."""
    wanted = sum(expected(case, each, site, energy) ** 2 for each in noises)
    squares = ((draws.astype(np.float64) - case.y) ** 2).mean(axis=0)
    np.testing.assert_allclose(squares / wanted, 1, atol=6 * math.sqrt(2 / TOGETHER_RUNS))


def test_noises_together_are_what_each_does_alone_in_the_file(
    loud_case: tuple[Noisy, tuple[str, ...]], draws_from: str
) -> None:
    (case, model, site, energy), noises = loud_case
    InsertNoisePass({"mac": NodeNoise(site, energy)}, noises, 2, draws_from)(model)
    check_variance(case, noisy_runs(model, case.feeds, TOGETHER_RUNS), noises, site, energy)


def test_noises_together_are_what_each_does_alone_in_the_mirror(
    loud_case: tuple[Noisy, tuple[str, ...]],
) -> None:
    (case, _, site, energy), noises = loud_case
    check_variance(case, mirror_runs(case, site, noises, energy, TOGETHER_RUNS), noises, site, energy)


def test_beta_scales_the_bias_and_no_noise(draws_from: str) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        "w": rng.standard_normal((7, 4)).astype(np.float32), "b": np.array([1, -2, 3, 4], np.float32),
    }  # fmt: skip
    x = rng.standard_normal((50, 7)).astype(np.float32)
    for beta in (1.0, 4.0):
        node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], "mac", alpha=2.0, beta=beta)
        proto = make_model([node], [("x", TensorProto.FLOAT, ["n", 7])], [("y", ["n", 4])], tensors, opset=21)
        proto.ir_version = 10
        model = ir.from_proto(proto)
        (site,) = mac_sites(model, {"x": (1, 7), "y": (1, 4)}, {})
        InsertNoisePass({"mac": NodeNoise(site, np.array([1.0]))}, ("shot",), 0, draws_from)(model)
        draws = noisy_runs(model, {"x": x}, 400)
        exact = 2 * x @ tensors["w"] + beta * tensors["b"]
        sums = (x**2).sum(1, keepdims=True) * (tensors["w"] ** 2).sum(0)
        wanted = 2 * np.sqrt(sums / 7)
        assert np.abs((draws.mean(axis=0) - exact) / wanted).max() < 6 / math.sqrt(400)
        np.testing.assert_allclose(((draws - exact) / wanted).std(), 1, rtol=0.02)


def test_zero_padding_lowers_shot_noise_at_the_border() -> None:
    case = CASES["conv"]
    site = case.site(case.model(), weight_range=(1.0,), input_range=1.0)
    sigma = expected(case, "shot", site, np.array([1.0]))
    whole = np.sqrt((case.x**2).sum(axis=1).max() * 9 * 3 * (case.w**2).sum() / 27)
    assert sigma[:, :, 0, 0].max() < whole  # a sanity bound; the equality is tested above
    inside, corner = sigma[:, :, 2, 2].mean(), sigma[:, :, 0, 0].mean()
    assert corner < inside


def two_products(seed: int, draws_from: str) -> tuple[ir.Model, dict[str, np.ndarray]]:
    """Two equal MatMuls of the same input, both noisy."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((6, 50)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first"),
        helper.make_node("MatMul", ["x", "w"], ["b"], "second"),
    ]
    proto = make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", 6])], [("a", ["n", 50]), ("b", ["n", 50])], {"w": w}, 21
    )
    proto.ir_version = 10
    model = ir.from_proto(proto)
    sites = mac_sites(model, {"x": (1, 6), "a": (1, 50), "b": (1, 50)}, {})
    InsertNoisePass(
        {site.node: NodeNoise(site, np.array([1.0])) for site in sites}, ("shot",), seed, draws_from
    )(model)
    return model, {"x": rng.standard_normal((40, 6)).astype(np.float32)}


def test_sites_and_runs_are_independent_and_seeds_replay(draws_from: str) -> None:
    def draw(seed: int, runs: int) -> tuple[np.ndarray, np.ndarray]:
        model, feeds = two_products(seed, draws_from)
        session = ort.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
        both = [session.run(None, feeds) for _ in range(runs)]
        return np.stack([a for a, _ in both]), np.stack([b for _, b in both])

    first, second = draw(0, 20)
    bound = 5 / math.sqrt(first.size)
    exact = first.mean(axis=0)

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return abs(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]))

    assert correlation(first - exact, second - second.mean(axis=0)) < bound
    assert (
        correlation((first - exact)[1:], (first - exact)[:-1]) < 0.06 + bound
    )  # exact is an estimate of 20 runs
    again, _ = draw(0, 20)
    np.testing.assert_array_equal(first, again)
    other, _ = draw(1, 20)
    assert correlation(first - exact, other - other.mean(axis=0)) < bound


def test_removing_noise_gives_the_file_back_bit_for_bit(draws_from: str) -> None:
    model, _ = two_products(0, draws_from)
    before = CASES["conv groups"].model()
    content = model_bytes(before)
    site = CASES["conv groups"].site(before, weight_range=(1.0,), input_range=1.0)
    InsertNoisePass({"mac": NodeNoise(site, np.array([1.0]))}, ("thermal", "weight"), 0, draws_from)(before)
    assert model_bytes(before) != content
    RemoveNoisePass()(before)
    assert model_bytes(before) == content
    seeds = {node.attributes["seed"].as_float() for node in model.graph}
    ReseedNoisePass(5)(model)
    changed = {node.attributes["seed"].as_float() for node in model.graph}
    assert len(seeds | changed) == 4
