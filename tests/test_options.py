"""Every named choice of allocate changes the graph or the training as it says; onnxruntime and the bare graph judge."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from conftest import make_cnn, make_model
from onnx import TensorProto, helper, numpy_helper

import mpq_onnx
from mpq_onnx.errors import DataError, UsageError
from mpq_onnx.graph.example_layout import ExampleLayout
from mpq_onnx.graph.placement import ActivationSite
from mpq_onnx.mirror.quantized import LearnedQuantizer, LearnedWidth, LearningRules, WidthTable
from mpq_onnx.passes import channel_links, channel_scaling
from mpq_onnx.passes.scale_channels import ScaleChannelsPass
from mpq_onnx.precision.items import activation_items
from mpq_onnx.precision.training_data import TrainingBatch
from mpq_onnx.precision.width_budgets import WidthSide
from mpq_onnx.registries import ACTIVATION_BUDGETS, EQUALIZATIONS, TARGETS, WIDTH_CHOICES
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runtime.tensors import tensor_shapes
from mpq_onnx.tasks import Answer

WEIGHTS = {"stem.weight", "inner.weight", "depthwise.weight", "fc.weight"}


class Graph:
    """A written file, read without any of this project's code."""

    def __init__(self, path: Path) -> None:
        self.proto = onnx.load(path)
        self.constants = {each.name: numpy_helper.to_array(each) for each in self.proto.graph.initializer}
        self.producers = {name: node for node in self.proto.graph.node for name in node.output}
        self.nodes = {node.name: node for node in self.proto.graph.node}

    def producer(self, node: str, index: int = 0) -> onnx.NodeProto | None:
        return self.producers.get(self.nodes[node].input[index])

    def weight(self, node: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(integers, scale, zero point) of the weight of `node`."""
        return tuple(self.constants[name] for name in self.producer(node, 1).input)  # type: ignore[return-value,union-attr]

    def quantized(self) -> set[str]:
        """Float tensors that go into a QuantizeLinear."""
        return {node.input[0] for node in self.proto.graph.node if node.op_type == "QuantizeLinear"}

    def output_levels(self, node: str) -> int:
        """Levels of the quantizer that the first input of `node` comes from."""
        clip = self.producers[self.producer(node).input[0]]  # type: ignore[union-attr]
        return int(self.constants[clip.input[2]]) + 1 if clip.op_type == "Clip" else 256


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path, image_file: Path):
    """Allocate with the given options; results are kept, as the tests compare with the defaults' again and again."""
    done: dict = {}

    def allocate(weight_bits=4.0, activation_bits=4.0, **options) -> tuple[mpq_onnx.AllocateResult, Graph]:
        key = (weight_bits, activation_bits, *sorted(options.items()))
        if key not in done:
            settings = {"method": "uniform", "rounding": "nearest", "steps": 8, **options}
            result = mpq_onnx.allocate(
                cnn_file, f"npz:{image_file}", tmp_path_factory.mktemp("options") / "out",
                weight_bits=weight_bits, activation_bits=activation_bits, options=mpq_onnx.AllocateOptions(**settings),
                keep_candidates=True,
            )  # fmt: skip
            done[key] = result, Graph(Path(result.model_path))
            check = result.mirror_check
            assert min(check.optimized_sqnr, check.unoptimized_sqnr) > 40
        return done[key]

    return allocate


def sqnr(result: mpq_onnx.AllocateResult) -> float:
    assert result.chosen.evaluation.comparison is not None
    return result.chosen.evaluation.comparison.output_sqnr


@pytest.mark.parametrize("storage", ["int8", "packed"])
def test_weight_scales_per_tensor_are_one_scalar(run, storage: str) -> None:
    result, graph = run(weight_scales="tensor", storage=storage)
    other, per_channel = run(storage=storage)
    reads = [node for node in graph.proto.graph.node if node.name.endswith("weight_dequantize")]
    assert len(reads) == len(WEIGHTS)
    assert all(graph.constants[node.input[1]].shape == () for node in reads)
    assert {
        per_channel.constants[node.input[1]].shape
        for node in per_channel.proto.graph.node
        if node.name.endswith("weight_dequantize")
    } == {(8,), (6,)}
    assert sqnr(result) < sqnr(other)


def test_symmetric_weights_have_their_zero_in_the_middle(run) -> None:
    _, asymmetric = run()
    _, symmetric = run(weight_scheme="symmetric", weight_observer="minmax")
    _, narrow = run(weight_scheme="symmetric-narrow", weight_observer="minmax")
    for node in ("stem", "inner", "fc"):
        q, _, zero = symmetric.weight(node)
        q = q.astype(int) - zero.reshape(-1, *[1] * (q.ndim - 1))
        assert q.min() >= -8 and q.max() <= 7 and q.min() < -6
        n, scale, zero = narrow.weight(node)
        n = n.astype(int) - zero.reshape(-1, *[1] * (n.ndim - 1))
        assert n.min() >= -7 and n.max() <= 7
        largest = np.abs(n * scale.reshape(-1, *[1] * (n.ndim - 1))).reshape(len(n), -1).max(axis=1)
        np.testing.assert_allclose(largest, 7 * scale, rtol=1e-6)  # every channel's largest weight is an end
    spans = [asymmetric.weight(node)[0].astype(int) for node in ("stem", "inner")]
    assert any(q.reshape(len(q), -1).max(axis=1).max() > 7 for q in spans)


def test_symmetric_activations(run) -> None:
    result, graph = run(activation_scheme="symmetric")
    _, narrow = run(activation_scheme="symmetric-narrow")
    for node in graph.proto.graph.node:
        if node.op_type == "QuantizeLinear":
            zero = int(graph.constants[node.input[2]])
            assert zero == (128 if node.input[0].startswith("images") else 8)
    assert graph.output_levels("inner") == 16
    assert narrow.output_levels("inner") == 15
    assert sqnr(result) < sqnr(run()[0])  # after a ReLU half of the levels are never used


def test_dynamic_ranges_follow_each_example(run, image_file: Path) -> None:
    result, graph = run(activation_ranges="dynamic", activation_bits=6.0)
    assert not graph.quantized()
    dynamic = [node for node in graph.proto.graph.node if node.op_type == "DynamicAsymmetric"]
    assert len(dynamic) == len([node for node in result.chosen.allocation.nodes if node.activation_bits])
    images = np.load(image_file)["images"][:4]
    session = ort.InferenceSession(result.model_path, providers=["CPUExecutionProvider"])
    (plain,) = session.run(None, {"images": images})
    for index in range(4):  # an example's answer does not depend on its neighbours
        np.testing.assert_allclose(
            session.run(None, {"images": images[index : index + 1]})[0][0], plain[index], atol=1e-5
        )
    (exact,) = session.run(None, {"images": images})
    (louder,) = session.run(None, {"images": images * 1000})
    assert np.corrcoef(exact.ravel(), louder.ravel())[0, 1] > 0.5
    clipped = ort.InferenceSession(run(activation_bits=6.0)[0].model_path, providers=["CPUExecutionProvider"])
    assert np.abs(clipped.run(None, {"images": images * 1000})[0]).max() < np.abs(louder).max() / 10


def test_placements(run) -> None:
    everything = run()[1].quantized()
    assert {"images", "r0", "r1", "r2", "c1", "g", "logits_float"} == everything
    before = {"images", "b0", "c1", "a1", "c2", "g", "logits_float"}
    assert run(placement="before-activation")[1].quantized() == before
    assert run(placement="relu")[1].quantized() == {"r0", "r1", "r2"}
    result, gemm = run(placement="gemm")
    assert gemm.quantized() == {"images", "r0", "p1", "f"}
    add = next(node for node in gemm.proto.graph.node if node.op_type == "Add")
    assert "r0" in add.input  # the residual sum reads the float tensor that the convolution has quantized
    assert gemm.producer("inner").op_type == "DequantizeLinear"  # type: ignore[union-attr]
    assert sqnr(result) > sqnr(run()[0])


@pytest.mark.parametrize("choice", ["8", "float"])
def test_first_and_last_layer(run, choice: str) -> None:
    result, graph = run(weight_bits=2.0, activation_bits=2.0, first_last=choice)
    by_node = {node.node: node for node in result.chosen.allocation.nodes}
    wanted = {"8": 8, "float": None}[choice]
    assert by_node["stem"].weight_bits == by_node["fc"].weight_bits == wanted
    assert not by_node["stem"].weight_counted and not by_node["fc"].weight_counted
    assert by_node["inner"].weight_bits == 2 and result.chosen.allocation.mean_weight_bits == 2
    if choice == "float":
        assert graph.nodes["fc"].input[1] == "fc.weight" and graph.producer("stem") is None
        assert "gap" not in by_node and "g" not in graph.quantized()  # what the last layer multiplies
    else:
        assert np.ptp(graph.weight("stem")[0].astype(int)) > 100 and by_node["gap"].activation_bits == 8
    assert sqnr(result) > sqnr(run(weight_bits=2.0, activation_bits=2.0)[0])


def test_biases_stay_float_where_asked(run) -> None:
    integers, floats = run()[1], run(bias="float")[1]
    assert integers.producer("inner", 2).op_type == "DequantizeLinear"  # type: ignore[union-attr]
    assert floats.producer("inner", 2) is None
    assert floats.constants[floats.nodes["inner"].input[2]].dtype == np.float32


@pytest.mark.parametrize("scales", ["channel", "tensor"])
def test_variance_correction_restores_the_variance(run, scales: str) -> None:
    """Of every channel, or of the tensor where it has one scale."""
    exact = numpy_helper.to_array(
        next(each for each in make_cnn().graph.initializer if each.name == "inner.weight")
    )

    def deviations(graph: Graph) -> np.ndarray:
        q, scale, zero = graph.weight("inner")
        shape = (-1, 1, 1, 1) if scale.ndim else ()
        values = (q.astype(float) - zero.reshape(shape)) * scale.reshape(shape)
        return values.reshape(8 if scale.ndim else 1, -1).std(axis=1)

    wanted = exact.reshape(8 if scales == "channel" else 1, -1).std(axis=1)
    corrected = deviations(run(2.0, variance_correction=True, weight_scales=scales)[1])
    np.testing.assert_allclose(corrected, wanted, rtol=1e-5)
    assert np.abs(deviations(run(2.0, weight_scales=scales)[1]) / wanted - 1).max() > 0.01


def test_a_maximum_budget_fills_the_largest_tensors_memory(run) -> None:
    result, _ = run(activation_bits=4.0, activation_budget="max", method="water-filling")
    nodes = [
        node for node in result.chosen.allocation.nodes if node.activation_bits and node.activation_counted
    ]
    memory = 4.0 * max(node.activation_elements for node in nodes)
    for node in nodes:
        assert node.activation_bits * node.activation_elements <= memory
        following = [width for width in (2, 3, 4, 5, 6, 7, 8) if width > node.activation_bits]
        assert not following or following[0] * node.activation_elements > memory
    assert result.chosen.allocation.peak_activation_bits == 4
    assert result.chosen.allocation.mean_activation_bits > 4  # smaller tensors get more
    assert result.chosen.allocation.settings.activation_budget == "max"


def test_learned_widths_are_held_to_the_maximum() -> None:
    sites = [ActivationSite(str(size), "Relu", str(size), size) for size in (100, 50, 10)]
    items = activation_items(sites, (2, 3, 4, 5, 6, 7, 8))
    learned = np.array([6.0, 3.2, 7.9])
    # Nobody loses by another's bits under this budget: each takes what the largest one's memory allows.
    assert WidthSide(items, 4.0, ACTIVATION_BUDGETS["max"]).project(learned).tolist() == [4.0, 8.0, 8.0]
    assert ACTIVATION_BUDGETS["max"].spent(items.sizes, learned) == 6.0
    assert ACTIVATION_BUDGETS["mean"].spent(items.sizes, learned) == pytest.approx((600 + 160 + 79) / 160)


def batch(labels: torch.Tensor | None) -> TrainingBatch:
    exact = torch.tensor([[4.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    inputs = (torch.zeros(2, 1),)
    return TrainingBatch(inputs, labels, 2, lambda: (exact,), Answer.CLASSES, (), (ExampleLayout(0),))


def test_labels_are_real_generated_or_distilled() -> None:
    outputs = (torch.tensor([[1.0, 2.0, 0.5], [0.3, 0.2, 0.1]]),)
    labelled, bare = batch(torch.tensor([2, 0])), batch(None)
    entropy = torch.nn.functional.cross_entropy
    assert TARGETS["real"](outputs, labelled) == entropy(outputs[0], torch.tensor([2, 0]))
    assert TARGETS["generated"](outputs, labelled) == entropy(outputs[0], torch.tensor([0, 1]))
    assert TARGETS["distilled"](bare.float_outputs, bare) == pytest.approx(0, abs=1e-6)
    assert TARGETS["distilled"](outputs, bare) > 0.1
    assert TARGETS["auto"](outputs, labelled) == TARGETS["real"](outputs, labelled)
    assert TARGETS["auto"](outputs, bare) == TARGETS["distilled"](outputs, bare)
    with pytest.raises(DataError, match="no labels"):
        TARGETS["real"](outputs, bare)


def test_labels_change_what_is_learned(run) -> None:
    logs = {
        labels: (Path(run(method="gradient", labels=labels)[0].folder) / "training.log").read_text()
        for labels in ("real", "generated", "distilled")
    }
    assert len(set(logs.values())) == 3


def test_stochastic_widths_are_right_on_average() -> None:
    widths, bits = torch.tensor([2.0, 4.0, 8.0]), torch.tensor([2.0, 3.5, 5.0, 8.0])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([widths[WIDTH_CHOICES["stochastic"](bits, widths, generator)] for _ in range(4000)])
    assert drawn.mean(0) == pytest.approx(bits, abs=0.1)
    assert set(drawn[:, 1].tolist()) == {2.0, 4.0} and set(drawn[:, 2].tolist()) == {4.0, 8.0}
    assert widths[WIDTH_CHOICES["nearest"](bits, widths, generator)].tolist() == [2, 4, 4, 8]


def test_stochastic_training_differs_and_is_repeatable(run) -> None:
    def log(**options) -> str:
        return (Path(run(method="gradient", **options)[0].folder) / "training.log").read_text()

    assert log(width_choice="stochastic") != log()
    assert log(width_choice="stochastic") == log(width_choice="stochastic", storage="packed")


def test_fractional_and_discrete_widths(run) -> None:
    fractional, graph = run(3.5, 3.5, bit_choices=(2, 3.5, 5))
    assert {node.weight_bits for node in fractional.uniform.allocation.nodes if node.weight} == {np.log2(11)}
    assert graph.output_levels("inner") == round(2**3.5)
    discrete, _ = run(3.5, 3.5, bit_choices=(2, 4, 8), method="water-filling")
    filled = next(each for each in discrete.candidates if each.name == "water-filling")
    widths = {node.weight_bits for node in filled.allocation.nodes if node.weight}
    assert widths <= {2.0, 4.0, 8.0} and len(widths) > 1


def test_the_range_gradient_is_the_slope_of_the_loss() -> None:
    """Ends outside the range move with it; inside, rounding errors shrink and grow with the step."""
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    log_range = torch.zeros((), requires_grad=True)
    scale, zero, levels = torch.tensor(0.1), torch.tensor(8.0), torch.tensor(16.0)

    def loss(log_range: torch.Tensor) -> torch.Tensor:
        y = LearnedWidth.apply(x, torch.tensor(2.0), log_range, scale, zero, levels)
        return (y - x).square().mean()

    loss(log_range).backward()
    step = 0.05
    slope = (loss(torch.tensor(step)) - loss(torch.tensor(-step))) / (2 * step)
    assert float(log_range.grad) == pytest.approx(float(slope), rel=0.1) and float(slope) < 0


def test_learned_ranges_end_in_the_file(run) -> None:
    result, _ = run(3.0, 3.0, method="gradient", learned_ranges=True, steps=40, observer="minmax")
    plain = run(3.0, 3.0, method="gradient", steps=40, observer="minmax")
    learned = next(each for each in result.candidates if each.name == "gradient")
    graph = Graph(Path(result.folder) / "candidates" / "gradient.onnx")
    by_node = {node.node: node for node in learned.allocation.nodes}
    factor = by_node["relu0"].activation_range
    assert 0.5 < factor < 1  # clipping outliers pays at three bits
    assert {node.activation_range for node in plain[0].chosen.allocation.nodes} == {1.0}
    if by_node["relu0"].activation_bits == 3:
        same = run(3.0, 3.0, observer="minmax")[1]
        scales = [
            float(each.constants[each.producer("inner").input[1]])  # type: ignore[union-attr]
            for each in (graph, same)
        ]
        assert scales[0] / scales[1] == pytest.approx(factor, rel=1e-5)
    quantizer = LearnedQuantizer(
        WidthTable(torch.tensor([3.0]), *(torch.ones(1) for _ in range(3))), torch.tensor(3.0),
        LearningRules(WIDTH_CHOICES["nearest"], torch.Generator(), learn_range=True),
    )  # fmt: skip
    assert len(list(quantizer.parameters())) == 2


def test_the_training_subset_is_drawn_by_the_seed(run) -> None:
    few = run(training_examples=16, seed=0)[0]
    other = run(training_examples=16, seed=1)[0]
    scales = [Graph(Path(each.model_path)).constants["r0_scale"] for each in (few, other, run()[0])]
    assert len({float(scale) for scale in scales}) == 3
    assert few.chosen.allocation.settings.training_examples == 16


@pytest.mark.parametrize("name", ["cross-layer", "activation-channels"])
def test_equalization_keeps_the_function_and_evens_the_channels(
    name: str, cnn_file: Path, image_file: Path
) -> None:
    model = load_float_model(cnn_file)
    dataset = model.open_data(f"npz:{image_file}")
    shapes = tensor_shapes(model.model, dataset, "cpu")
    factors = EQUALIZATIONS[name](model.model, shapes, dataset, "cpu")
    # stem feeds the residual sum; inner feeds a depthwise convolution behind an Add; depthwise feeds fc behind a pool.
    assert set(factors) == {"c2"}
    assert max(factors["c2"]) > 1.2 * min(factors["c2"])
    images = np.load(image_file)["images"]
    scaled = onnx.load_from_string(_scaled(model.model, factors, shapes))

    def outputs(proto: bytes, *names: str) -> list[np.ndarray]:
        opened = onnx.load_from_string(proto)
        opened.graph.output.extend(onnx.helper.make_tensor_value_info(each, 1, None) for each in names)
        session = ort.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(["logits", *names], {"images": images})

    plain, before = outputs(_scaled(model.model, {}, shapes), "r2")
    equal, after = outputs(scaled.SerializeToString(), "r2")
    np.testing.assert_allclose(equal, plain, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        after * np.array(factors["c2"]).reshape(1, -1, 1, 1), before, rtol=1e-3, atol=1e-4
    )
    if name == "activation-channels":
        peaks = after.max(axis=(0, 2, 3))
        assert (peaks > 0).sum() > 4
        np.testing.assert_allclose(peaks[peaks > 0], peaks.max(), rtol=1e-4)
    else:
        arrays = {each.name: numpy_helper.to_array(each) for each in scaled.graph.initializer}
        made = np.abs(arrays["depthwise.weight"]).max(axis=(1, 2, 3))
        np.testing.assert_allclose(made, np.abs(arrays["fc.weight"]).max(axis=0), rtol=1e-2)


def _scaled(model, factors, shapes) -> bytes:
    from mpq_onnx.graph.model_file import clone, model_bytes

    copy = clone(model)
    ScaleChannelsPass(factors, shapes)(copy)
    return model_bytes(copy)


@pytest.mark.parametrize("name", ["cross-layer", "activation-channels"])
def test_equalized_allocations_can_be_applied(
    run, name: str, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    result, graph = run(equalization=name)
    folder = Path(result.folder)
    mpq_onnx.apply(
        cnn_file,
        folder / "allocation.json",
        tmp_path / "again.onnx",
        data=f"npz:{image_file}?shuffle=0&start=48",
    )
    again = Graph(tmp_path / "again.onnx")
    assert set(again.constants) == set(graph.constants)
    for tensor, array in graph.constants.items():
        np.testing.assert_array_equal(again.constants[tensor], array)
    assert not np.array_equal(graph.weight("fc")[1], run()[1].weight("fc")[1])


def test_a_calibration_with_another_scheme_is_refused(
    run, cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    calibration = Path(run()[0].folder) / "calibration.json"
    with pytest.raises(UsageError, match="activation-scheme asymmetric, not symmetric"):
        mpq_onnx.allocate(
            cnn_file, f"npz:{image_file}", tmp_path / "out", weight_bits=4, activation_bits=4, calibration=calibration,
            options=mpq_onnx.AllocateOptions(activation_scheme="symmetric"),
        )  # fmt: skip


@pytest.mark.parametrize("name", ["cross-layer", "activation-channels", "depthwise"])
@pytest.mark.parametrize("length", [8, 7])
@pytest.mark.parametrize("rank", [3, 4])
def test_a_product_along_another_axis_reads_no_channels(
    name: str, length: int, rank: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    spread = np.exp(rng.standard_normal(8)).reshape(-1, *[1] * (rank - 1))
    made = (rng.standard_normal((8, 3, *[3] * (rank - 2))) * spread).astype(np.float32)
    read = rng.standard_normal((length, 6)).astype(np.float32)
    conv = helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1] * 2 * (rank - 2))
    product = helper.make_node("MatMul", ["r", "v"], ["y"], name="product")
    model = make_model(
        [conv, helper.make_node("Relu", ["c"], ["r"]), product],
        [("x", TensorProto.FLOAT, ["n", 3, *[8] * (rank - 3), length])],
        [("y", ["n", 8, *[8] * (rank - 3), 6])],
        {"w": made, "v": read},
    )
    x = rng.standard_normal((32, 3, *[8] * (rank - 3), length)).astype(np.float32)
    options = mpq_onnx.AllocateOptions(effort="quick", method="uniform", equalization=name)
    result = mpq_onnx.allocate(model, x, tmp_path / "out", weight_bits=8, activation_bits=8, options=options)
    compared = mpq_onnx.evaluate(result.model_path, x, baseline=model).evaluation.comparison
    assert compared is not None and compared.output_sqnr > 25


def test_an_equalization_that_changes_the_network_is_left_out(
    cnn_file: Path, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    """As a fault of ours would."""
    monkeypatch.setattr(
        channel_scaling, "_scaled_inputs", lambda node, factors: channel_links.constant_weight(node)
    )
    with caplog.at_level("INFO", logger="mpq_onnx"):
        calibrated = mpq_onnx.calibrate(
            cnn_file, f"npz:{image_file}", tmp_path / "calibration.json", equalization="cross-layer"
        )
    assert "equalization cross-layer: it would change what" in caplog.text
    assert calibrated.channel_factors == {}
