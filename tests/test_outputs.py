"""Every output and every part of one is measured on its own; labels are compared as labels; repeats are averaged."""

import json
import math
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from conftest import make_model, weights
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from test_cli import run_inside

import mpq_onnx
from mpq_onnx.datasets import open_dataset
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.graph.output_parts import output_parts
from mpq_onnx.graph.placement.mac_sites import mac_sites
from mpq_onnx.passes.insert_noise import InsertNoisePass, NodeNoise
from mpq_onnx.registries import ENERGY_LEVELS
from mpq_onnx.runs.gates import Verdict
from mpq_onnx.runtime.noisy_evaluation import evaluate_noisy
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.statistics import Difference, Estimate, Spread, comparable, decibels

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def saved(path: Path, nodes, inputs, outputs, tensors) -> Path:
    """Outputs as (name, type, shape)."""
    model = make_model(nodes, inputs, [(name, shape) for name, _, shape in outputs], tensors)
    for value, (_, kind, _) in zip(model.graph.output, outputs, strict=True):
        value.type.tensor_type.elem_type = kind
    onnx.save(model, path)
    return path


def detector(path: Path, score_factor: float = 1.0, transposed: bool = False) -> Path:
    """20 anchors of 4 boxes (hundreds) and 6 scores (0 to 1) in one output; the factor is what befalls the scores."""
    rng = np.random.default_rng(0)
    tensors = {
        "wb": weights(rng, 8, 4), "ws": weights(rng, 8, 6), "size": np.array(300, np.float32),
        "factor": np.array(score_factor, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("MatMul", ["x", "wb"], ["b"], "boxes"),
        helper.make_node("Mul", ["b", "size"], ["boxes_"], "scale"),
        helper.make_node("MatMul", ["x", "ws"], ["s"], "scores"),
        helper.make_node("Sigmoid", ["s"], ["p"], "sigmoid"),
        helper.make_node("Mul", ["p", "factor"], ["scores_"], "fate"),
        helper.make_node("Concat", ["boxes_", "scores_"], ["joined" if transposed else "y"], "join", axis=-1),
    ]
    shape = ["n", 20, 10]
    if transposed:
        nodes.append(helper.make_node("Transpose", ["joined"], ["y"], "turn", perm=[0, 2, 1]))
        shape = ["n", 10, 20]
    return saved(path, nodes, [("x", FLOAT, ["n", 20, 8])], [("y", FLOAT, shape)], tensors)


@pytest.mark.parametrize(("transposed", "name"), [(False, "y[:, :, 4-9]"), (True, "y[:, 4-9]")])
def test_dead_scores_beside_boxes_are_seen_and_gated(tmp_path: Path, transposed: bool, name: str) -> None:
    exact = detector(tmp_path / "exact.onnx", transposed=transposed)
    dead = detector(tmp_path / "dead.onnx", 0.0, transposed)
    data = "random?count=40"
    comparison = mpq_onnx.evaluate(dead, data, baseline=exact).evaluation.comparison
    assert comparison is not None
    boxes, scores = comparison.parts
    assert scores.part == comparison.worst_part == name and comparison.output_sqnr == 0
    assert boxes.sqnr is not None and boxes.sqnr.value == math.inf
    for gate in ("sqnr=20", "cosine=0.9"):
        found = run_inside("evaluate", dead, "--data", data, "--baseline", exact, "--min", gate)
        assert found.returncode == 1 and name in found.stderr
        assert name in found.stdout
    fine = run_inside("evaluate", exact, "--data", data, "--baseline", exact, "--min", "sqnr=20", "--json")
    assert fine.returncode == 0
    assert len(json.loads(fine.stdout)["evaluation"]["comparison"]["parts"]) == 2


def test_units_decide_the_parts() -> None:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((64, 10)).astype(np.float32)
    logits[:, 3] = 2 + 1e-4 * logits[:, 3]  # nearly constant, on the scale of the others
    seldom = 10.0 ** -rng.uniform(0, 9, (64, 30)).astype(np.float32)
    seldom[:, 7] = 1e-9  # a class that never occurs has the unit of the others
    regression = np.concatenate([logits, 0.01 * rng.standard_normal((64, 4))], axis=1).astype(np.float32)
    masks = np.arange(6).repeat(64).reshape(6, 64).T > 2
    silent = logits * (np.arange(10) > 0)
    names = ("logits", "seldom", "mixed", "masks", "silent")
    found = [part.name for part in output_parts(names, [logits, seldom, regression, masks, silent])]
    assert found == ["logits", "seldom", "mixed[:, 0-9]", "mixed[:, 10-13]", "masks", "silent"]
    (first, second) = output_parts(("mixed",), [regression])
    np.testing.assert_array_equal(second.of(regression), regression[:, 10:])
    np.testing.assert_array_equal(first.of(regression), regression[:, :10])


def test_parts_of_scattered_entries() -> None:
    array = np.random.default_rng(0).standard_normal((32, 6, 5)).astype(np.float32)
    array[:, [0, 3]] *= 1000
    large, small = output_parts(("y",), [array])
    assert (large.name, small.name) == ("y[:, 0 3]", "y[:, 1-2 4-5]")
    np.testing.assert_array_equal(large.of(array), array[:, [0, 3]])


def labels_model(path: Path, shift: float = 0.0) -> Path:
    """A class map (ArgMax), a mask (Greater), the map's float scores and text, from one convolution."""
    rng = np.random.default_rng(0)
    tensors = {
        "w": weights(rng, 3, 2, 1, 1), "shift": np.array([shift, 0, 0], np.float32).reshape(1, 3, 1, 1),
        "half": np.array(0.5, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Add", ["c", "shift"], ["scores"], "add"),
        helper.make_node("ArgMax", ["scores"], ["map"], "argmax", axis=1, keepdims=0),
        helper.make_node("Greater", ["scores", "half"], ["mask"], "greater"),
        helper.make_node("Cast", ["map"], ["text"], "cast", to=TensorProto.STRING),
        helper.make_node("ReduceMean", ["scores"], ["level"], "mean", keepdims=0),
    ]
    outputs = [
        ("map", INT64, ["n", 6, 6]), ("mask", TensorProto.BOOL, ["n", 3, 6, 6]), ("text", TensorProto.STRING, ["n", 6, 6]),
        ("scores", FLOAT, ["n", 3, 6, 6]), ("level", FLOAT, []),
    ]  # fmt: skip
    return saved(path, nodes, [("x", FLOAT, ["n", 2, 6, 6])], outputs, tensors)


def test_labels_masks_text_and_scalars(tmp_path: Path) -> None:
    exact, moved = labels_model(tmp_path / "exact.onnx"), labels_model(tmp_path / "moved.onnx", 0.5)
    found = mpq_onnx.evaluate(moved, "random?count=20", baseline=exact).evaluation.comparison
    assert found is not None
    parts = {part.part: part for part in found.parts}
    feeds = np.random.default_rng(3).standard_normal((20, 2, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=feeds)
    ours, theirs = (Runner(path, "cpu").run({"x": feeds})[0] for path in (moved, exact))
    again = mpq_onnx.evaluate(moved, f"npz:{tmp_path / 'data.npz'}", baseline=exact).evaluation.comparison
    assert again is not None and again.parts[0].agreement is not None
    assert again.parts[0].agreement.value == pytest.approx((ours == theirs).mean())
    assert [parts[name].kind for name in ("map", "mask", "text")] == ["labels", "labels", "text"]
    assert all(parts[name].sqnr is None for name in ("map", "mask", "text"))
    assert parts["level"].sqnr is not None and parts["scores"].sqnr is not None
    text = run_inside("evaluate", moved, "--data", "random?count=20", "--baseline", exact)
    assert "text, not compared" in text.stdout


def test_class_maps_against_labels_of_their_shape(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("ArgMax", ["c"], ["map"], "argmax", axis=1, keepdims=1),
    ]
    path = saved(
        tmp_path / "map.onnx", nodes, [("x", FLOAT, ["n", 2, 4, 4])], [("map", INT64, ["n", 1, 4, 4])],
        {"w": weights(rng, 3, 2, 1, 1)},
    )  # fmt: skip
    x = rng.standard_normal((12, 2, 4, 4)).astype(np.float32)
    labels = Runner(path, "cpu").run({"x": x})[0][:, 0]
    labels[:, 0] = 99  # a quarter wrong
    np.savez(tmp_path / "data.npz", x=x, labels=labels)
    found = mpq_onnx.evaluate(path, f"npz:{tmp_path / 'data.npz'}", baseline=path).evaluation
    assert found.metrics["accuracy"].value == 0.75 and found.metrics["agreement"].value == 1
    assert found.comparison is not None and found.comparison.output_sqnr is None


def test_outputs_with_infinities() -> None:
    exact = np.array([1.0, -np.inf, np.nan, 2.0])
    wanted, difference = comparable(exact, np.array([1.0, -np.inf, np.nan, 2.0]))
    assert difference.tolist() == [0, 0, 0, 0] and np.isfinite(wanted).all()
    _, difference = comparable(exact, np.array([1.0, 0.0, np.nan, np.nan]))
    assert difference.tolist() == [0, np.inf, 0, np.inf] and decibels(5.0, np.inf) == -math.inf


def test_a_nan_passes_no_gate(tmp_path: Path) -> None:
    """The square root of a negative number in some examples."""
    tensors = {"w": weights(np.random.default_rng(0), 3, 2)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "fc"),
        helper.make_node("Sqrt", ["h"], ["y"], "sqrt"),
    ]
    inputs, outputs = [("x", FLOAT, ["n", 3])], [("y", FLOAT, ["n", 2])]
    broken = saved(tmp_path / "nan.onnx", nodes, inputs, outputs, tensors)
    nodes[1] = helper.make_node("Abs", ["h"], ["y"], "abs")
    exact = saved(tmp_path / "abs.onnx", nodes, inputs, outputs, tensors)
    command = ("evaluate", broken, "--data", "random?count=9", "--baseline", exact)
    for gates in (("--min", "sqnr=-1000"), ("--min", "cosine=-1"), ("--max", "cosine=1")):
        assert run_inside(*command, *gates).returncode == 1
    assert (
        json.loads(run_inside(*command, "--json").stdout)["evaluation"]["comparison"]["output_sqnr"] == "-inf"
    )


def test_a_gate_on_what_was_not_measured_lists_what_was(tmp_path: Path) -> None:
    path = detector(tmp_path / "exact.onnx")
    command = ("evaluate", path, "--data", "random?count=9", "--min", "sqnr=3")
    alone = run_inside(*command)
    assert alone.returncode == 2 and "bytes" in alone.stderr and "--baseline" in alone.stderr


def test_a_gate_is_shown_with_its_limit_to_the_last_digit(tmp_path: Path) -> None:
    exact, dead = detector(tmp_path / "exact.onnx"), detector(tmp_path / "dead.onnx", 0.9)
    command = ("evaluate", dead, "--data", "random?count=9", "--baseline", exact, "--max", "bytes=1234567")
    shown = run_inside(*command, "--min", "cosine=0.123456789")
    assert shown.returncode == 0
    assert ">= 0.123456789" in shown.stdout and "<= 1234567" in shown.stdout
    assert "gate passed: cosine" in shown.stdout and str(dead.stat().st_size) in shown.stdout
    gates = json.loads(run_inside(*command, "--min", "sqnr=300", "--json").stdout)["gates"]
    assert [(gate["metric"], gate["passed"]) for gate in gates] == [("sqnr", False), ("bytes", True)]


@pytest.mark.parametrize(
    ("factor", "said"),
    [(0.0, "is the same for every example"), (-0.5, "has an SQNR of -3.5 dB"), (0.9, None)],
)
def test_a_part_of_which_little_is_left_is_said(factor: float, said: str | None, tmp_path: Path) -> None:
    exact, changed = detector(tmp_path / "exact.onnx"), detector(tmp_path / "changed.onnx", factor)
    command = ("evaluate", changed, "--data", "random?count=9", "--baseline", exact)
    notes = json.loads(run_inside(*command, "--json").stdout)["notes"]
    lines = [line for line in run_inside(*command).stdout.splitlines() if line.startswith("NOTE:")]
    assert lines == [f"NOTE: {note}" for note in notes]
    assert [note for note in notes if said and f"y[:, :, 4-9] {said}" in note] == notes
    assert len(notes) == (said is not None)


def test_what_an_output_is_taken_for_is_said_where_nobody_says_it(
    cnn_file: Path, image_file: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.npz"
    np.savez(plain, images=np.load(image_file)["images"][:32])
    options = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest")
    found = mpq_onnx.allocate(cnn_file, f"npz:{plain}", tmp_path / "out", weight_bits=8, options=options)
    for notes in (found.notes, mpq_onnx.evaluate(cnn_file, f"npz:{plain}").notes):
        (note,) = [each for each in notes if "taken for" in each]
        assert "class scores: logits [examples, 6]" in note and "--task feature-extraction" in note
    told = mpq_onnx.evaluate(cnn_file, f"npz:{plain}", baseline=cnn_file, task="feature-extraction")
    assert told.notes == () and "cosine" in told.evaluation.metrics
    assert mpq_onnx.evaluate(cnn_file, f"npz:{image_file}").notes == ()  # labels say what they are


def test_figures_show_the_digits_that_tell_them_from_their_limit() -> None:
    assert str(Verdict("top1", 0.89999999, None, 0.9, None, False)) == "top1 0.89999999 < 0.9"
    assert str(Verdict("log_loss", 0.5, "y[:, 2]", None, 0.25, False)) == "log_loss 0.5 > 0.25 (y[:, 2])"


def test_a_share_in_percent_gets_a_hint(tmp_path: Path) -> None:
    path = detector(tmp_path / "exact.onnx")
    command = ("--data", "random?count=9")
    missed = run_inside("evaluate", path, *command, "--baseline", path, "--min", "cosine=90")
    assert missed.returncode == 2 and "write cosine=0.9 for 90 %" in missed.stderr
    above = run_inside("evaluate", path, *command, "--baseline", path, "--max", "cosine=90")
    assert above.returncode == 2 and "--max cosine=90: is no limit" in above.stderr
    search = ("search", path, "--data", "npz:absent", "--test", "npz:absent", "-o", tmp_path / "out")
    refused = run_inside(*search, "--min", "top1=90")
    assert refused.returncode == 2 and "shares go from 0 to 1: write top1=0.9" in refused.stderr


def noisy_binary() -> tuple[onnx.ModelProto, ir.Model]:
    """A logit of four inputs, and its form with shot noise."""
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], "fc")]
    model = make_model(
        nodes, [("x", FLOAT, ["n", 4])], [("y", ["n", 1])], {"w": rng.standard_normal((4, 1)).astype(np.float32)},
        opset=21,
    )  # fmt: skip
    noisy = ir.from_proto(model)
    (site,) = mac_sites(noisy, {"x": (1, 4), "y": (1, 1)}, {}, False)
    energies = ENERGY_LEVELS["any"].fit(np.array([0.02]), np.array([4]), 0.08)
    InsertNoisePass({"fc": NodeNoise(site, energies)}, ("shot",), 0)(noisy)
    return model, noisy


def test_metrics_of_a_noisy_file_are_means_over_the_repeats(tmp_path: Path) -> None:
    plain, noisy = noisy_binary()
    onnx.save(plain, tmp_path / "plain.onnx")
    rng = np.random.default_rng(1)
    x = rng.standard_normal((64, 4)).astype(np.float32)
    labels = (Runner(tmp_path / "plain.onnx", "cpu").run({"x": x})[0][:, 0] > 0).astype(np.int64)
    np.savez(tmp_path / "data.npz", x=x, labels=labels)
    facts = {"mpq_onnx.task": "binary-classification"}
    dataset = open_dataset(f"npz:{tmp_path / 'data.npz'}", model_inputs(noisy), facts)
    baseline = Runner(tmp_path / "plain.onnx", "cpu")
    found = evaluate_noisy(noisy, dataset, baseline, repeats=6, seed=1, device="cpu")
    assert found.noise is not None and found.comparison is not None
    for name, metric in found.metrics.items():
        spread = found.noise[name]
        assert len(set(spread.values)) > 1
        assert metric.value == pytest.approx(np.mean(spread.values))
        assert spread.low is not None and spread.high is not None
        assert metric.low <= spread.mean <= metric.high
        assert type(metric).LIMITS[0] <= spread.low and spread.high <= type(metric).LIMITS[1]
    assert found.metrics["auroc"].high <= 1.2 and found.metrics["accuracy"].high <= 1
    agreement, sqnr = found.comparison.agreement, found.comparison.parts[0].sqnr
    assert agreement is not None and sqnr is not None
    assert agreement.value == pytest.approx(np.mean(found.noise["agreement"].values))
    assert found.comparison.output_sqnr == pytest.approx(np.mean(found.noise["sqnr"].values)) == sqnr.value


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8))
def test_intervals_over_repeats_hold_the_mean_and_cover_one_repeat(hits: list[int]) -> None:
    shares = [Estimate.share(each, 50) for each in hits]
    found = Estimate.over_repeats(shares)
    assert found.value == pytest.approx(np.mean(hits) / 50)
    assert 0 <= found.low <= found.value <= found.high <= 1
    if len(set(hits)) == 1:
        assert (found.low, found.high) == (pytest.approx(shares[0].low), pytest.approx(shares[0].high))
    spread = Spread.of([each.value for each in shares], type(shares[0]).LIMITS)
    assert spread.low is not None and spread.high is not None
    assert 0 <= spread.low <= spread.mean <= spread.high <= 1


def test_intervals_over_repeats_cover_examples_and_noise_as_often_as_they_say() -> None:
    """Values m + e_example + c_repeat + n: the noise has a part that all examples of a repeat share, as weight noise has."""
    rng, hits, trials = np.random.default_rng(0), 0, 600
    for _ in range(trials):
        examples, repeats, shared = 40, 5, 0.1
        values = rng.standard_normal(examples) * 0.5 + shared * rng.standard_normal((repeats, 1))
        values = values + 0.2 * rng.standard_normal((repeats, examples))
        found = Estimate.over_repeats([Estimate.mean(each) for each in values])
        hits += found.low <= 0 <= found.high
    assert 0.94 < hits / trials <= 1


def test_differences_over_repeats() -> None:
    found = Estimate.over_repeats([Difference.of(3, 1, 100), Difference.of(1, 3, 100)])
    assert isinstance(found, Difference) and found.value == 0 and found.low < -0.02


@pytest.mark.parametrize(
    ("form", "word"), [("qdq", "QDQ"), ("operator", "QLinearConv"), ("dynamic", "DynamicQuantizeLinear")]
)
def test_evaluate_says_what_another_tools_file_is(
    tmp_path: Path, cnn_file: Path, form: str, word: str
) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_dynamic, quantize_static

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.left = iter([{"images": rng.standard_normal((1, 3, 12, 12)).astype(np.float32)}] * 2)

        def get_next(self) -> dict | None:
            return next(self.left, None)

    path = tmp_path / "other.onnx"
    if form == "dynamic":
        quantize_dynamic(str(cnn_file), str(path))
    else:
        kind = QuantFormat.QDQ if form == "qdq" else QuantFormat.QOperator
        quantize_static(str(cnn_file), str(path), Images(), quant_format=kind)
    found = run_inside("evaluate", path, "--data", "random?count=8", "--baseline", cnn_file)
    assert found.returncode == 0, found.stderr
    assert word in found.stdout and "weights stored in 8 bits" in found.stdout
    document = json.loads(run_inside("evaluate", path, "--data", "random?count=8", "--json").stdout)
    assert document["widths"]["mean_weight_bits"] == 8 and document["allocation"] is None
    assert document["widths"] == document["stored"]
