"""Hand-off files: the tools that they are for read and run them, and see the widths that were allocated."""

import csv
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from conftest import make_model, weights
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, quantize_static
from test_cards import Images
from test_cli import assert_one_line, run, run_inside

import mpq_onnx
from mpq_onnx.arithmetic.quantization import width_of
from mpq_onnx.handoff_targets import TARGETS
from mpq_onnx.handoff_targets.integer_range import integer_range
from mpq_onnx.handoff_targets.layers import LayerTable

ROOT = Path(__file__).resolve().parents[1]
FAST = {"method": "water-filling", "rounding": "nearest"}
HARDWARE = {"weight_scheme": "symmetric", "activation_scheme": "symmetric-unsigned"}
NARROW = {"weight_scheme": "symmetric-narrow", "activation_scheme": "symmetric-narrow"}
TENSORRT = {
    "weight_scheme": "symmetric", "activation_scheme": "symmetric", "bit_choices": (4, 8), "activation_bit_choices": (8,),
}  # fmt: skip
FORMS: dict[str, tuple[float, float, dict]] = {
    "hardware": (4, 6, HARDWARE),
    "narrow": (4, 6, NARROW),
    "packed": (3, 6, {"storage": "packed"}),
    "channels": (4, 6, {"granularity": "channel", "storage": "packed"}),
    "tensorrt": (6, 8, TENSORRT),
    "dynamic": (4, 6, {"activation_ranges": "dynamic"}),
    "wide": (6, 12, {"activation_bit_choices": (8, 12, 16)}),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path) -> Path:
    path = tmp_path_factory.mktemp("handoff") / "float.onnx"
    mpq_onnx.export(str(cnn_file), path)
    return path


@pytest.fixture(scope="module")
def quantized(
    tmp_path_factory: pytest.TempPathFactory, exported: Path, image_file: Path
) -> Callable[[str], Path]:
    """The file of a form in FORMS, made once."""
    folder = tmp_path_factory.mktemp("forms")

    def make(form: str) -> Path:
        place = folder / form
        if not place.exists():
            weight_bits, activation_bits, options = FORMS[form]
            mpq_onnx.allocate(
                exported,
                f"npz:{image_file}?count=64",
                place,
                weight_bits=weight_bits,
                activation_bits=activation_bits,
                options=mpq_onnx.AllocateOptions(**FAST, **options),
            )
        return place / "model.onnx"

    return make


@pytest.fixture(scope="module")
def noisy(
    tmp_path_factory: pytest.TempPathFactory, quantized: Callable[[str], Path], image_file: Path
) -> Path:
    folder = tmp_path_factory.mktemp("noisy")
    mpq_onnx.allocate_energy(
        quantized("hardware"),
        f"npz:{image_file}?count=64",
        folder,
        energy_per_mac=20,
        options=mpq_onnx.EnergyOptions(("thermal", "weight"), method="closed-form", granularity="channel"),
    )
    return folder / "model.onnx"


def environment(name: str) -> Path:
    """The Python of an environment that `make test` sets up beside this one."""
    python = Path(f"{sys.prefix}-{name}") / "bin" / "python"
    assert python.is_file(), f"{python} is missing: run the tests with `make test`"
    return python


def tool(script: str, *arguments: object) -> dict:
    """What a script in tests/simulators prints on its last line."""
    result = subprocess.run(
        [environment("simulators"), ROOT / "tests" / "simulators" / script, *map(str, arguments)],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.strip().splitlines()[-1])


def hand(file: Path, target: str, folder: Path, image_file: Path) -> mpq_onnx.HandoffResult:
    return mpq_onnx.handoff(file, folder, to=target, data=f"npz:{image_file}?count=32", examples=2)


def allocated_widths(file: Path) -> dict[str, tuple[float, float]]:
    """(weight bits, bits of the input) by node, from the file's own allocation."""
    allocation = mpq_onnx.load_allocation(file.parent / "allocation.json")
    activations = allocation.activation_bits_by_tensor()
    return {
        node.node: (node.weight_bits, activations[node.input]) for node in allocation.nodes if node.weight
    }


@pytest.mark.parametrize("form", ["hardware", "narrow"])
def test_qonnx_runs_it_exactly_and_counts_the_allocated_bits(
    form: str, quantized: Callable[[str], Path], image_file: Path, tmp_path: Path
) -> None:
    file = quantized(form)
    assert not hand(file, "qonnx", tmp_path, image_file).notes
    found = tool("run_qonnx.py", tmp_path, "qonnx")
    assert found["difference"] == 0
    assert not found["other_quantizers"]
    expected: dict[str, float] = {}
    allocation = mpq_onnx.load_allocation(file.parent / "allocation.json")
    for node in allocation.nodes:
        if node.weight:
            bits = allocated_widths(file)[node.node]
            key = f"op_mac_SCALEDINT<{bits[1]:g}>_SCALEDINT<{bits[0]:g}>"
            expected[key] = expected.get(key, 0) + node.macs
    assert found["cost"] == expected
    assert math.ceil(found["weight_bits"] / 8) == allocation.weight_bytes
    assert found["bit_operations"] == allocation.bit_operations


def test_what_is_not_read_is_not_called_float(
    quantized: Callable[[str], Path], image_file: Path, tmp_path: Path
) -> None:
    hand(quantized("hardware"), "qonnx", tmp_path, image_file)
    for look in (mpq_onnx.card, mpq_onnx.inspect):
        with pytest.raises(
            mpq_onnx.MpqOnnxError, match=r"model\.onnx: its quantizers are of QONNX \(Quant, node .*QCDQ"
        ):
            look(tmp_path / "model.onnx")


@pytest.mark.parametrize("form", ["packed", "wide"])
def test_qonnx_runs_other_zero_points_and_widths_too(
    form: str, quantized: Callable[[str], Path], image_file: Path, tmp_path: Path
) -> None:
    (note,) = hand(quantized(form), "qonnx", tmp_path, image_file).notes
    assert "zero point" in note and "symmetric-unsigned" in note
    assert tool("run_qonnx.py", tmp_path, "qonnx")["difference"] == 0


@pytest.mark.parametrize("form", ["hardware", "packed"])
def test_qonnx_gives_the_widths_of_qcdq_back(
    form: str, quantized: Callable[[str], Path], image_file: Path, tmp_path: Path
) -> None:
    file = quantized(form)
    result = hand(file, "qcdq", tmp_path, image_file)
    assert result.largest_difference == 0
    found = tool("run_qonnx.py", tmp_path, "qcdq")
    assert found["difference"] == 0 and not found["other_quantizers"]
    allocation = mpq_onnx.load_allocation(file.parent / "allocation.json")
    widths = {f"{node.weight}_dequantized": node.weight_bits for node in allocation.nodes if node.weight}
    outputs = {value.name for value in onnx.load(file).graph.output}
    for tensor, bits in allocation.activation_bits_by_tensor().items():
        widths[tensor if tensor in outputs else f"{tensor}_dequantized"] = bits
    biases = {name: 32.0 for name in found["widths"] if "_bias_" in name}
    assert found["widths"] == {**widths, **biases}


def plain_cnn() -> onnx.ModelProto:
    """Convolutions, a pool and a classifier in a row: what hls4ml takes."""
    rng = np.random.default_rng(0)
    tensors = {
        "first.weight": weights(rng, 4, 3, 3, 3), "first.bias": rng.standard_normal(4).astype(np.float32),
        "second.weight": weights(rng, 6, 4, 3, 3), "second.bias": rng.standard_normal(6).astype(np.float32),
        "last.weight": weights(rng, 5, 54), "last.bias": rng.standard_normal(5).astype(np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["images", "first.weight", "first.bias"], ["a"], "first", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "relu1"),
        helper.make_node("MaxPool", ["b"], ["c"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node(
            "Conv", ["c", "second.weight", "second.bias"], ["d"], "second", pads=[1] * 4, strides=[2, 2]
        ),
        helper.make_node("Relu", ["d"], ["e"], "relu2"),
        helper.make_node("Flatten", ["e"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "last.weight", "last.bias"], ["logits"], "last", transB=1),
    ]
    inputs = [("images", TensorProto.FLOAT, ["n", 3, 12, 12])]
    return make_model(nodes, inputs, [("logits", ["n", 5])], tensors)


def test_hls4ml_sees_the_allocated_widths(image_file: Path, tmp_path: Path) -> None:
    onnx.save(plain_cnn(), tmp_path / "source.onnx")
    mpq_onnx.export(str(tmp_path / "source.onnx"), tmp_path / "float.onnx")
    result = mpq_onnx.allocate(
        tmp_path / "float.onnx",
        f"npz:{image_file}?count=64",
        tmp_path / "quantized",
        weight_bits=5,
        activation_bits=6,
        options=mpq_onnx.AllocateOptions(**FAST, target="hls4ml"),
    )
    file = Path(result.model_path)
    hand(file, "qonnx", tmp_path / "qonnx", image_file)
    layers = tool("run_hls4ml.py", tmp_path / "qonnx" / "model.onnx", tmp_path / "hls")
    precisions = [layer["weight"] for layer in layers if layer["class"] in ("Conv2D", "Dense")]
    widths = [bits for bits, _ in allocated_widths(file).values()]
    assert precisions == [f"fixed<{bits:g},{bits:g},RND_CONV,SAT,0>" for bits in widths]
    steps = [
        layer["result"] for layer in layers if layer["class"] == "ApplyAlpha" and "SAT" in layer["result"]
    ]
    signs = ["fixed", "ufixed", "ufixed", "fixed"]  # behind a ReLU nothing is negative
    allocation = result.chosen.allocation
    bits = [f"{width:g}" for width in allocation.activation_bits_by_tensor().values()]
    assert [step.split(",")[0] for step in steps] == [
        f"{sign}<{width}" for sign, width in zip(signs, bits, strict=True)
    ]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="zigzag-dse needs Python 3.11")
def test_zigzag_parses_the_workload_and_sees_the_bits(
    quantized: Callable[[str], Path], image_file: Path, tmp_path: Path
) -> None:
    file = quantized("hardware")
    hand(file, "zigzag", tmp_path / "zigzag", image_file)
    hand(file, "json", tmp_path / "json", image_file)
    found = tool("run_zigzag.py", tmp_path / "zigzag" / "workload.onnx")
    rows = json.loads((tmp_path / "json" / "layers.json").read_text())["layers"]
    assert list(found) == [row["name"] for row in rows]
    for row in rows:
        weight_bits, input_bits = allocated_widths(file)[row["name"]]
        sums = weight_bits + input_bits + math.ceil(math.log2(row["fan_in"]))
        assert found[row["name"]]["precision"] == {
            "W": weight_bits, "I": input_bits, "O_final": input_bits, "O": sums,
        }  # fmt: skip
        assert math.prod(found[row["name"]]["sizes"].values()) == row["macs"]


def test_timeloop_problems_have_the_macs_and_the_bits(
    quantized: Callable[[str], Path], image_file: Path, tmp_path: Path
) -> None:
    file = quantized("hardware")
    hand(file, "timeloop", tmp_path, image_file)
    allocation = mpq_onnx.load_allocation(file.parent / "allocation.json")
    layers = [node for node in allocation.nodes if node.weight]
    problems = [yaml.safe_load(path.read_text())["problem"] for path in sorted(tmp_path.glob("*.yaml"))]
    assert [problem["name"] for problem in problems] == [layer.node for layer in layers]
    for problem, layer in zip(problems, layers, strict=True):
        sizes = [problem["instance"][name] for name in problem["shape"]["dimensions"]]
        assert math.prod(sizes) == layer.macs
        variables = problem["variables"]
        assert (variables["ENCODED_WEIGHT_BITS"], variables["ENCODED_INPUT_BITS"]) == allocated_widths(file)[
            layer.node
        ]
        for role in ("Weights", "Inputs", "Outputs"):
            assert sum(problem["histograms"][role]) == pytest.approx(1, abs=1e-3)
            assert problem["histogram_limits"][role] > 0
    stem, depthwise = problems[0], problems[2]
    assert (stem["instance"]["C"], stem["instance"]["M"], stem["instance"]["R"]) == (3, 8, 3)
    assert (depthwise["instance"]["G"], depthwise["instance"]["C"], depthwise["instance"]["M"]) == (8, 1, 1)
    weight_bits, _ = allocated_widths(file)["stem"]
    # Eight channels, each with a scale of its own: most of the 255 bins are empty.
    assert sum(share > 0 for share in stem["histograms"]["Weights"]) <= 8 * 2**weight_bits


def test_json_and_csv_say_the_same_and_fit_the_schema(
    quantized: Callable[[str], Path], image_file: Path, tmp_path: Path
) -> None:
    file = quantized("channels")
    hand(file, "json", tmp_path / "json", image_file)
    hand(file, "csv", tmp_path / "csv", image_file)
    document = json.loads((tmp_path / "json" / "layers.json").read_text())
    jsonschema.validate(document, LayerTable.json_schema())
    for row in document["layers"]:
        bits, input_bits = allocated_widths(file)[row["name"]]
        assert tuple(np.broadcast_to(row["weight_bits"], len(bits))) == bits
        assert row["input_bits"] == input_bits
        assert row["noise"] == [] and row["energy_per_mac"] is None and row["sigma"] is None
    assert document["macs"] == sum(
        node.macs for node in mpq_onnx.load_allocation(file.parent / "allocation.json").nodes
    )
    with (tmp_path / "csv" / "layers.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    for row, wanted in zip(rows, document["layers"], strict=True):
        for name, value in wanted.items():
            if value is None:
                assert row[name] == ""
            elif isinstance(value, list):
                assert json.loads(row[name]) == value
            elif isinstance(value, str | bool):
                assert row[name] == str(value)
            else:
                assert float(row[name]) == value


def test_rows_of_a_noisy_file(noisy: Path, image_file: Path, tmp_path: Path) -> None:
    hand(noisy, "json", tmp_path, image_file)
    document = json.loads((tmp_path / "layers.json").read_text())
    jsonschema.validate(document, LayerTable.json_schema())
    energy = {node.node: node for node in mpq_onnx.load_energy_allocation(noisy.parent / "energy.json").nodes}
    attributes = {
        node.name: {each.name: helper.get_attribute_value(each) for each in node.attribute}
        for node in onnx.load(noisy).graph.node
        if node.domain == "mpq_onnx.noise"
    }
    assert len(document["layers"]) == len(energy) == 4
    for row in document["layers"]:
        assert tuple(row["energy_per_mac"]) == energy[row["name"]].energy_per_mac
        assert row["energy_unit"] == "relative" and row["noise"] == ["thermal", "weight"]
        assert row["fan_in"] == energy[row["name"]].fan_in
        assert row["input_range"] == pytest.approx(attributes[row["name"]]["input_range"], rel=1e-6)
        assert row["weight_range"] == pytest.approx(attributes[row["name"]]["weight_range"], rel=1e-6)
        # An SNR of S dB is a signal whose root mean square is 10^(S/20) times the noise's.
        assert row["sigma"] > 0 and row["snr"] > 0 and row["noise_equivalent_bits"] > 0


def test_golden_tensors_are_what_the_file_answers(
    quantized: Callable[[str], Path], image_file: Path, tmp_path: Path
) -> None:
    file = quantized("hardware")
    hand(file, "csv", tmp_path, image_file)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(file), options)
    images = np.load(image_file)["images"]
    drawn: list[int] = []
    for index in range(2):
        place = tmp_path / "golden" / f"test_data_set_{index}"
        image, logits = (
            numpy_helper.to_array(onnx.load_tensor(str(place / f"{name}_0.pb")))
            for name in ("input", "output")
        )
        drawn.append(next(place for place, each in enumerate(images) if np.array_equal(image[0], each)))
        np.testing.assert_array_equal(session.run(None, {"images": image})[0], logits)
    assert len(set(drawn)) == 2
    manifest = json.loads((tmp_path / "handoff.json").read_text())
    assert manifest["target"] == "csv" and manifest["golden_examples"] == 2
    assert {"layers.csv", "card.md", "card.json"} <= set(manifest["files"])


def test_tensorrt_files_have_nothing_but_int8_and_int4(
    quantized: Callable[[str], Path], image_file: Path, tmp_path: Path
) -> None:
    result = hand(quantized("tensorrt"), "tensorrt", tmp_path, image_file)
    assert result.largest_difference == 0
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zeros = {tensors[node.input[2]].data_type for node in nodes}
    stored = {tensors[node.input[0]].data_type for node in nodes if node.input[0] in tensors}
    assert zeros == stored == {TensorProto.INT8, TensorProto.INT4}
    assert not any(numpy_helper.to_array(tensors[node.input[2]]).astype(np.int32).any() for node in nodes)
    assert "Clip" not in {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("form", ["packed", "channels"])
def test_ort_files_run_in_integer_kernels(
    form: str, quantized: Callable[[str], Path], image_file: Path, tmp_path: Path
) -> None:
    assert hand(quantized(form), "ort", tmp_path, image_file).largest_difference == 0
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), options)
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == 3 and "Conv" not in kinds
    assert not onnx.load(tmp_path / "model.onnx").functions


def views_of_signals(view: str) -> onnx.ModelProto:
    """A view between two quantized products, one in front of the first and one behind the last, which the model gives away."""
    rng = np.random.default_rng(5)
    tensors = {"w": weights(rng, 6, 6, 1), "v": weights(rng, 6, 6, 1), "b": weights(rng, 6)}
    attributes: dict = {"perm": [0, 2, 1]} if view == "Transpose" else {}
    constants: list[str] = []
    if view == "Reshape":
        tensors["shape"], constants = np.array([-1, 6, 6]), ["shape"]
    elif view == "Slice":
        tensors |= {"s": np.array([0]), "e": np.array([6]), "a": np.array([2])}
        constants = ["s", "e", "a"]
    nodes = [
        helper.make_node(view, ["x", *constants], ["seen"], "before", **attributes),
        helper.make_node("Conv", ["seen", "w", "b"], ["c"], "first"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node(view, ["r", *constants], ["again"], "between", **attributes),
        helper.make_node("Conv", ["again", "v"], ["z"], "second"),
        helper.make_node(view, ["z", *constants], ["y"], "behind", **attributes),
    ]
    return make_model(nodes, [("x", TensorProto.FLOAT, ["n", 6, 6])], [("y", ["n", 6, 6])], tensors)


@pytest.mark.parametrize("target", ["qcdq", "tensorrt", "ort"])
@pytest.mark.parametrize("view", ["Transpose", "Reshape", "Slice"])
def test_signed_activations_behind_views_load_in_a_plain_session(
    view: str, target: str, tmp_path: Path
) -> None:
    onnx.save(views_of_signals(view), tmp_path / "float.onnx")
    x = np.random.default_rng(0).standard_normal((64, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    data = f"npz:{tmp_path}/x.npz"
    chosen = mpq_onnx.AllocateOptions(**{**FAST, **TENSORRT})
    result = mpq_onnx.allocate(
        tmp_path / "float.onnx", data, tmp_path / "out", weight_bits=8, activation_bits=8, options=chosen
    )
    mpq_onnx.handoff(result.model_path, tmp_path / "handed", to=target, data=data)
    wanted, found = in_two_sessions(tmp_path / "handed" / "model.onnx", x)
    # An integer kernel may put a value between two levels on the other one.
    assert np.abs(wanted - found).max() <= 0.05 * np.abs(wanted).max()


def with_softmax() -> onnx.ModelProto:
    rng = np.random.default_rng(5)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "first"),
        helper.make_node("Softmax", ["h"], ["p"], "softmax", axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["y"], "second"),
    ]
    tensors = {"w": weights(rng, 8, 8), "v": weights(rng, 8, 4)}
    return make_model(nodes, [("x", TensorProto.FLOAT, ["n", 3, 8])], [("y", ["n", 3, 4])], tensors)


def in_two_sessions(file: Path, x: np.ndarray) -> list[np.ndarray]:
    """The output of a file without graph optimizations, and in a session by default."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return [
        onnxruntime.InferenceSession(file, each).run(None, {"x": x})[0]
        for each in (options, onnxruntime.SessionOptions())
    ]


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_softmax_of_few_levels_is_itself_in_a_plain_session(bits: int, tmp_path: Path) -> None:
    onnx.save(with_softmax(), tmp_path / "float.onnx")
    x = np.random.default_rng(0).standard_normal((64, 3, 8)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    data = f"npz:{tmp_path}/x.npz"
    chosen = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest")
    result = mpq_onnx.allocate(
        tmp_path / "float.onnx", data, tmp_path / "out", weight_bits=8, activation_bits=bits, options=chosen
    )
    mpq_onnx.handoff(result.model_path, tmp_path / "handed", to="qcdq", data=data)
    wanted, found = in_two_sessions(tmp_path / "handed" / "model.onnx", x)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_what_has_one_side_in_float_is_said(exported: Path, image_file: Path, tmp_path: Path) -> None:
    chosen = mpq_onnx.AllocateOptions(**FAST)
    result = mpq_onnx.allocate(
        exported, f"npz:{image_file}", tmp_path / "out", activation_bits=8, options=chosen
    )
    evaluated = mpq_onnx.evaluate(result.model_path, f"npz:{image_file}")
    assert any("onnxruntime's defaults" in note for note in evaluated.notes)
    for target, told in (("ort", True), ("qcdq", True), ("json", False)):
        handed = hand(Path(result.model_path), target, tmp_path / target, image_file)
        assert any("onnxruntime's defaults" in note for note in handed.notes) == told


@pytest.mark.parametrize(
    ("form", "target", "nodes"),
    [
        ("channels", "qonnx", ("a width per output channel", "stem", "depthwise", "fc")),
        ("channels", "qcdq", ("a width per output channel", "stem")),
        ("channels", "zigzag", ("a width per output channel", "stem")),
        ("channels", "tensorrt", ("a width per output channel", "stem")),
        ("dynamic", "qonnx", ("DynamicAsymmetric", "images_dynamic_quantize")),
        ("dynamic", "ort", ("DynamicAsymmetric",)),
        ("wide", "qcdq", ("an activation of 9 to 15 bits", "relu0")),
        ("wide", "ort", ("an activation over 8 bits", "relu0")),
        (
            "hardware",
            "tensorrt",
            ("an activation of other than 8 bits", "relu0"),
        ),
    ],
)
def test_what_cannot_be_expressed_is_refused_with_the_nodes(
    form: str,
    target: str,
    nodes: tuple[str, ...],
    quantized: Callable[[str], Path],
    image_file: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(mpq_onnx.MpqOnnxError) as refusal:
        hand(quantized(form), target, tmp_path / "out", image_file)
    assert refusal.value.exit_code == 2
    assert [part for part in nodes if part not in str(refusal.value)] == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["qonnx", "qcdq", "tensorrt", "ort"])
def test_noise_is_refused_where_a_format_has_none(
    target: str, noisy: Path, image_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(mpq_onnx.MpqOnnxError, match=r"cannot express noise: stem, inner, depthwise, fc"):
        hand(noisy, target, tmp_path, image_file)


def test_the_command(quantized: Callable[[str], Path], image_file: Path, tmp_path: Path) -> None:
    file = quantized("hardware")
    result = run(
        "handoff",
        file,
        "--to",
        "qcdq",
        "-o",
        tmp_path / "out",
        "--data",
        f"npz:{image_file}?count=8",
        "--json",
    )
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["largest_difference"] == 0 and document["golden_examples"] == 4
    assert document["files"]["model.onnx"] == (tmp_path / "out" / "model.onnx").stat().st_size
    assert_one_line(
        run_inside("handoff", file, "--to", "pdf", "-o", tmp_path / "no"), 2, "pdf", ", ".join(TARGETS)
    )
    assert_one_line(
        run_inside("handoff", tmp_path / "none.onnx", "--to", "csv", "-o", tmp_path / "no"), 3, "none.onnx"
    )
    assert not (tmp_path / "no").exists()


def test_another_tools_file(exported: Path, image_file: Path, tmp_path: Path) -> None:
    quantize_static(
        str(exported),
        str(tmp_path / "theirs.onnx"),
        Images(image_file),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
    )
    hand(tmp_path / "theirs.onnx", "json", tmp_path / "json", image_file)
    rows = json.loads((tmp_path / "json" / "layers.json").read_text())["layers"]
    assert [(row["weight_bits"], row["input_bits"]) for row in rows] == [(8, 8)] * 4
    hand(tmp_path / "theirs.onnx", "qonnx", tmp_path / "qonnx", image_file)
    assert tool("run_qonnx.py", tmp_path / "qonnx", "qonnx")["difference"] == 0


def test_a_float_file_has_rows_without_widths(exported: Path, image_file: Path, tmp_path: Path) -> None:
    hand(exported, "json", tmp_path, image_file)
    rows = json.loads((tmp_path / "layers.json").read_text())["layers"]
    assert {(row["weight_bits"], row["input_bits"], row["weight_range"]) for row in rows} == {
        (None, None, None)
    }
    assert [row["parameters"] for row in rows] == [8 * 27 + 8, 8 * 72 + 8, 8 * 9, 6 * 8 + 6]


def test_every_runnable_file_runs_with_onnx_and_onnxruntime_alone(
    exported: Path, quantized: Callable[[str], Path], noisy: Path, image_file: Path, tmp_path: Path
) -> None:
    files = [exported, *map(quantized, FORMS), noisy]
    for form, target in (("hardware", "qcdq"), ("tensorrt", "tensorrt"), ("packed", "ort")):
        hand(quantized(form), target, tmp_path / target, image_file)
        files.append(tmp_path / target / "model.onnx")
    result = subprocess.run(
        [environment("plain"), ROOT / "tests" / "plain_run.py", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["absent"] == ["mpq_onnx", "torch", "onnxscript"]
    assert [found["files"][str(file)] for file in files[-3:]] == [0, 0, 0]
    assert all(found["files"][str(file)] > 0 for file in files[:-3])


def test_the_thirty_line_reader_needs_only_onnx(quantized: Callable[[str], Path], noisy: Path) -> None:
    reader = ROOT / "examples" / "read_precision.py"
    assert len(reader.read_text().splitlines()) <= 30
    for file in (quantized("channels"), noisy):
        result = subprocess.run(
            [environment("plain"), reader, file], capture_output=True, text=True, check=True
        )
        rows = {row["node"]: row for row in map(json.loads, result.stdout.splitlines())}
        source = file if file != noisy else quantized("hardware")
        for name, (weight_bits, input_bits) in allocated_widths(source).items():
            found = rows[name]["weight_bits"]
            assert (tuple(found) if isinstance(found, list) else found) == weight_bits
            assert rows[name]["input_bits"] == input_bits
        if file == noisy:
            for node in mpq_onnx.load_energy_allocation(noisy.parent / "energy.json").nodes:
                assert rows[node.node]["energy_per_mac"] == pytest.approx(node.energy_per_mac, rel=1e-6)
                assert rows[node.node]["noise"] == ["thermal", "weight"]


@given(levels=st.integers(1, 65536), symmetric=st.booleans())
def test_integer_ranges_have_their_levels_and_hold_zero(levels: int, symmetric: bool) -> None:
    found = integer_range(levels, symmetric)
    assert found.levels == levels and found.lowest <= 0 <= found.highest
    assert found.is_signed == (symmetric and levels > 2)
    assert found.bits == math.ceil(math.log2(levels))
    assert 2 ** width_of(levels) == pytest.approx(levels + found.is_narrow)
