"""What newcomers and breakers of the release with clusters, pages and plug-ins have found: each is a kind, kept mended."""

import itertools
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from conftest import make_model, weights
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx import registries
from mpq_onnx.errors import DataError, UsageError
from mpq_onnx.mirror import build_mirror
from mpq_onnx.runs.alone import LOCK_FILE, alone_in
from mpq_onnx.runtime import timing
from mpq_onnx.runtime.scores.values import cosines

RNG = np.random.default_rng(0)


def dense_file(path: Path, size: int = 48, outputs: tuple[str, ...] = ("y",)) -> Path:
    """Two MatMuls whose weights are large enough to be shared with onnxruntime; the first may be given away."""
    first, second = (RNG.standard_normal((size, size)).astype(np.float32) / 7 for _ in range(2))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "v"], ["y"], name="second"),
    ]
    shapes = {"y": ["n", size], "w": [size, size]}
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", size])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(first, "w"), numpy_helper.from_array(second, "v")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def inputs(size: int = 48) -> np.ndarray:
    return RNG.standard_normal((40, size)).astype(np.float32)


@pytest.mark.parametrize("rounding", ["adaptive", "nearest"])
def test_large_weights_of_products_are_rounded_and_run(tmp_path: Path, rounding: str) -> None:
    options = mpq_onnx.AllocateOptions(effort="quick", method="uniform", rounding=rounding)
    model = dense_file(tmp_path / "m.onnx")
    result = mpq_onnx.allocate(
        model, inputs(), tmp_path / "out", weight_bits=4, activation_bits=8, options=options
    )
    assert result.mirror_check.optimized_sqnr > 60


def test_a_weight_that_the_model_gives_away_stays_float_there(tmp_path: Path) -> None:
    model = dense_file(tmp_path / "m.onnx", outputs=("y", "w"))
    np.savez(tmp_path / "x.npz", x=inputs())
    data = f"npz:{tmp_path / 'x.npz'}"
    options = mpq_onnx.AllocateOptions(effort="quick", method="uniform", rounding="adaptive")
    result = mpq_onnx.allocate(
        model, data, tmp_path / "out", weight_bits=3, activation_bits=6, options=options
    )
    assert result.mirror_check.optimized_sqnr > 60
    again = mpq_onnx.apply(model, tmp_path / "out" / "allocation.json", tmp_path / "again.onnx", data=data)
    assert again.mirror_check is not None and again.mirror_check.optimized_sqnr > 60


def test_results_do_not_take_the_place_of_models(tmp_path: Path) -> None:
    model = dense_file(tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=inputs())
    data = ("--data", f"npz:{tmp_path / 'x.npz'}")
    before = model.read_bytes()
    assert_one_line(run_inside("report", "--graph", model, "-o", model), 2, ".svg")
    assert_one_line(run_inside("report", "--graph", model, "-o", tmp_path / "m.png"), 2, ".svg")
    assert_one_line(run_inside("report", tmp_path, "-o", model), 2, ".html")
    assert_one_line(run_inside("calibrate", model, *data, "-o", model), 2, ".json")
    fast = ("--effort", "quick", "--method", "uniform", "--activation-bits", "6")
    done = run_inside("allocate", model, *data, "--weight-bits", 3, *fast, "-o", tmp_path / "out")
    assert done.returncode == 0
    allocation = tmp_path / "out" / "allocation.json"
    assert_one_line(run_inside("apply", model, allocation, *data, "-o", model), 2, "float model itself")
    assert model.read_bytes() == before


def test_a_file_takes_the_place_of_its_own_kind_alone(tmp_path: Path) -> None:
    model = dense_file(tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=inputs())
    data = ("--data", f"npz:{tmp_path / 'x.npz'}")
    options = mpq_onnx.AllocateOptions(effort="quick", method="uniform")
    mpq_onnx.allocate(model, inputs(), tmp_path / "out", weight_bits=4, activation_bits=8, options=options)
    documents = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.json")}
    allocation = tmp_path / "out" / "allocation.json"
    for path in documents.keys() - {tmp_path / "out" / "calibration.json"}:
        assert_one_line(
            run_inside("calibrate", model, *data, "-o", path), 2, path.name, "the calibration would replace"
        )
    for command in (("export", model), ("apply", model, allocation, *data)):
        assert_one_line(
            run_inside(*command, "-o", allocation), 2, "allocation.json: the model goes into", ".onnx"
        )
    profiled = run_inside("profile", model, "--with", "onnxruntime", "-o", allocation)
    assert_one_line(profiled, 2, "a cost table goes into", ".csv")
    assert {path: path.read_bytes() for path in documents} == documents
    (tmp_path / "empty.json").touch()
    for path in (tmp_path / "out" / "calibration.json", tmp_path / "new.json", tmp_path / "empty.json"):
        assert run_inside("calibrate", model, *data, "-o", path).returncode == 0


def test_macs_of_tokens_that_share_an_axis_with_examples(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Reshape", ["x", "rows"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "w"], ["g"], name="g"),
        helper.make_node("Reshape", ["g", "back"], ["y"], name="back"),
    ]
    constants = [
        numpy_helper.from_array(np.array([-1, 8]), "rows"),
        numpy_helper.from_array(np.array([-1, 16, 4]), "back"),
        numpy_helper.from_array(RNG.standard_normal((8, 4)).astype(np.float32), "w"),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["batch", 16, 8]), ("y", ["batch", 16, 4]))
    ]
    graph = helper.make_graph(nodes, "tokens", ends[:1], ends[1:], constants)
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    assert mpq_onnx.inspect(path).macs == 16 * 8 * 4


def test_counts_of_a_fixed_batch_that_mixes_examples_are_those_of_one(tmp_path: Path) -> None:
    model = onnx.load(dense_file(tmp_path / "m.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    model.graph.node[1].op_type = "Softmax"
    model.graph.node[1].attribute.append(
        helper.make_attribute("axis", 0)
    )  # examples are mixed: the batch stays
    onnx.save(model, tmp_path / "fixed.onnx")
    found = mpq_onnx.inspect(tmp_path / "fixed.onnx")
    assert found.macs == 2 * 48 * 48


class Unfinished:
    """An observer that watches nothing."""


@pytest.mark.parametrize(
    ("registry", "name", "given", "option"),
    [
        (registries.OBSERVERS, "unfinished", Unfinished, ("--observer", "unfinished")),
        (registries.METHODS, "one", lambda problem: [1], ("--method", "one")),
        (registries.WEIGHT_OBSERVERS, "nothing", lambda *given: None, ("--weight-observer", "nothing")),
        (
            registries.WEIGHT_OBSERVERS,
            "swapped",
            lambda rows, *given: (rows.max(axis=1), rows.min(axis=1)),
            ("--weight-observer", "swapped"),
        ),
        (registries.WEIGHT_OBSERVERS, "scalars", lambda *given: (0.0, 1.0), ("--weight-observer", "scalars")),
    ],
)
def test_a_plugin_that_gives_something_else_is_one_line(
    tmp_path: Path, registry: dict, name: str, given: object, option: tuple[str, str]
) -> None:
    model = dense_file(tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=inputs())
    registry[name] = given
    try:
        command = (
            "allocate",
            model,
            "--data",
            f"npz:{tmp_path / 'x.npz'}",
            "--weight-bits",
            4,
            "-o",
            tmp_path / "o",
        )
        assert_one_line(run_inside(*command, "--effort", "quick", *option), 2, name)
    finally:
        del registry[name]


def test_a_plugin_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("failing", "json:loads", "mpq_onnx.methods")
    monkeypatch.setattr(registries.METHODS, "_plugins", {"failing": entry})
    with pytest.raises(mpq_onnx.MpqOnnxError, match=r"plug-in failing .* failed: TypeError"):
        registries.METHODS["failing"](object())
    del registries.METHODS["failing"]


def image_model(
    middle: onnx.NodeProto, extra: dict[str, np.ndarray], batch: int | str = "n", opset: int = 19
) -> onnx.ModelProto:
    """Conv, `middle` from a to m, Conv."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "first", pads=[1] * 4),
        middle,
        helper.make_node("Conv", ["m", "v"], ["y"], "second"),
    ]
    tensors = {"w": weights(RNG, 4, 3, 3, 3), "v": weights(RNG, 2, 4, 1, 1), **extra}
    given = [("x", TensorProto.FLOAT, [batch, 3, 8, 8])]
    model = make_model(nodes, given, [("y", [batch, 2, "h", "w"])], tensors, opset)
    model.ir_version = 10
    return model


MIDDLES = {
    "resize, sizes of some axes": (
        helper.make_node("Resize", ["a", "", "", "sizes"], ["m"], "resize", mode="linear", axes=[2, 3]),
        {"sizes": np.array([5, 11])},
    ),
    "resize, sizes of axes in another order": (
        helper.make_node("Resize", ["a", "", "", "sizes"], ["m"], "resize", mode="linear", axes=[-1, 2]),
        {"sizes": np.array([5, 11])},
    ),
    "resize, scales of some axes": (
        helper.make_node("Resize", ["a", "", "scales"], ["m"], "resize", mode="linear", axes=[2, 3]),
        {"scales": np.array([2, 1.5], np.float32)},
    ),
    "resize, the aspect kept": (
        helper.make_node(
            "Resize", ["a", "", "", "sizes"], ["m"], "resize", mode="linear", axes=[3, 2],
            keep_aspect_ratio_policy="not_smaller",
        ),
        {"sizes": np.array([5, 7])},
    ),
    "resize, a region of some axes": (
        helper.make_node(
            "Resize", ["a", "region", "", "sizes"], ["m"], "resize", mode="linear", axes=[2, 3],
            coordinate_transformation_mode="tf_crop_and_resize",
        ),
        {"region": np.array([0.1, 0.2, 0.7, 0.9], np.float32), "sizes": np.array([5, 11])},
    ),
    "cubic resize to less": (
        helper.make_node("Resize", ["a", "", "scales"], ["m"], "resize", mode="cubic", exclude_outside=1),
        {"scales": np.array([1, 1, 2, 0.5], np.float32)},
    ),
    "average of a dilated window": (
        helper.make_node("AveragePool", ["a"], ["m"], "pool", kernel_shape=[2, 2], dilations=[2, 2]),
        {},
    ),
    "average, rounded up, padding counted": (
        helper.make_node(
            "AveragePool", ["a"], ["m"], "pool", kernel_shape=[2, 2], strides=[2, 2], pads=[1, 1, 0, 0],
            count_include_pad=1, ceil_mode=1,
        ),
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MIDDLES)
@pytest.mark.parametrize("activation_bits", [6, 8])
def test_what_onnxruntimes_fusions_misread(activation_bits: int, name: str, tmp_path: Path) -> None:
    onnx.save(image_model(*MIDDLES[name]), tmp_path / "float.onnx")
    found = mpq_onnx.allocate(
        tmp_path / "float.onnx", "random?count=48", tmp_path / "out", weight_bits=8, activation_bits=activation_bits,
        options=mpq_onnx.AllocateOptions(method="uniform", rounding="nearest"),
    )  # fmt: skip
    assert min(found.mirror_check.optimized_sqnr, found.mirror_check.unoptimized_sqnr) > 40
    comparison = mpq_onnx.evaluate(
        found.model_path, "random?count=16", baseline=tmp_path / "float.onnx"
    ).evaluation.comparison
    assert comparison is not None and comparison.output_sqnr > 4 * activation_bits - 4


COORDINATES = (
    "asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "tf_crop_and_resize",
)  # fmt: skip
INTERPOLATIONS = {
    **{mode: {"nearest_mode": mode} for mode in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")},
    "linear": {"mode": "linear"},
    "cubic": {"mode": "cubic"},
    "linear, smoothed": {"mode": "linear", "antialias": 1},
    "cubic, smoothed": {"mode": "cubic", "antialias": 1},
}


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_mirror_takes_the_pixels_that_onnxruntime_takes(interpolation: str, coordinates: str) -> None:
    """By scales whose products are no whole numbers, or are in float32 alone; crops; lengths that stay."""
    sizes = ((7, 8), (9, 4), (19, 13), (3, 35))
    factors = ((1.5, 1.6), (1.1, 1.2), (1.3, 1), (0.6, 1.7), (1 / 3, 1.25), (0.9, 1.4))
    for size, scales in itertools.product(sizes, factors):
        extra = {"region": np.array([0, 0, 0.1, 0.2, 1, 1, 0.7, 1.1], np.float32)}
        extra["scales"] = np.array([1, 1, *scales], np.float32)
        node = helper.make_node(
            "Resize", ["x", "region", "scales"], ["y"], coordinate_transformation_mode=coordinates,
            **INTERPOLATIONS[interpolation],
        )  # fmt: skip
        model = make_model(
            [node], [("x", TensorProto.FLOAT, [1, 2, *size])], [("y", [1, 2, "h", "w"])], extra, 19
        )
        x = RNG.standard_normal((1, 2, *size)).astype(np.float32)
        session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (found,) = build_mirror(ir.from_proto(model), "the model").module.forward(torch.from_numpy(x))
        np.testing.assert_allclose(found.numpy(), session.run(None, {"x": x})[0], atol=1e-4)


@pytest.mark.slow
def test_a_resize_to_sizes_that_name_the_batch(tmp_path: Path) -> None:
    middle = helper.make_node("Resize", ["a", "", "", "sizes"], ["m"], "resize", mode="linear")
    onnx.save(image_model(middle, {"sizes": np.array([1, 4, 11, 13])}, batch=1), tmp_path / "fixed.onnx")
    command = ("--data", "random?count=32", "--weight-bits", 8, "--activation-bits", 8, "--effort", "quick")
    one_by_one = run_inside("allocate", tmp_path / "fixed.onnx", *command, "-o", tmp_path / "slow")
    assert one_by_one.returncode == 0 and "takes one example at once" in one_by_one.stderr
    assert mpq_onnx.export(str(tmp_path / "fixed.onnx"), tmp_path / "open.onnx").fixed_batch is None
    done = run_inside("allocate", tmp_path / "open.onnx", *command, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr


def test_blocks_of_a_network_with_an_input_that_nobody_reads(tmp_path: Path) -> None:
    model = onnx.load(dense_file(tmp_path / "m.onnx", 16))
    model.graph.input.append(helper.make_tensor_value_info("unread", TensorProto.FLOAT, ["n", 3]))
    onnx.save(model, tmp_path / "m.onnx")
    options = mpq_onnx.AllocateOptions(method="uniform", rounding="block", rounding_examples=32)
    found = mpq_onnx.allocate(
        tmp_path / "m.onnx",
        "random?count=48",
        tmp_path / "o",
        weight_bits=3,
        activation_bits=8,
        options=options,
    )
    assert found.chosen.evaluation.examples == 12


def test_rows_of_four_bits_are_looked_up(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "embedding"),
        helper.make_node("MatMul", ["e", "w"], ["m"], "dense"),
        helper.make_node("Transpose", ["table"], ["turned"], "turn", perm=[1, 0]),
        helper.make_node("MatMul", ["m", "turned"], ["y"], "classifier"),
    ]
    tensors = {"table": weights(RNG, 20, 16), "w": weights(RNG, 16, 16)}
    onnx.save(
        make_model(nodes, [("ids", TensorProto.INT64, ["n", 5])], [("y", ["n", 5, 20])], tensors),
        tmp_path / "m.onnx",
    )
    options = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", storage="packed")
    found = mpq_onnx.allocate(
        tmp_path / "m.onnx",
        "random?count=32",
        tmp_path / "o",
        weight_bits=4,
        activation_bits=8,
        options=options,
    )
    assert min(found.mirror_check.optimized_sqnr, found.mirror_check.unoptimized_sqnr) > 40


@pytest.mark.parametrize("size", [1.0, 1e-7, 1e-18, 1e18])
def test_the_cosine_of_outputs_of_any_size(size: float) -> None:
    first, second = RNG.standard_normal((2, 30, 6))
    wanted = [
        np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(cosines(first * size, second * size), wanted)
    np.testing.assert_array_equal(cosines(np.zeros((2, 3)), np.array([[0, 0, 0], [1, 0, 0]])), [1, 0])


def test_weights_that_are_quantized_when_the_file_is_run(tmp_path: Path) -> None:
    """As training with quantizers leaves them, and onnxruntime's quantizer with AddQDQPairToWeight."""
    dense_file(tmp_path / "float.onnx", 16)
    quantize_static(
        tmp_path / "float.onnx", tmp_path / "qat.onnx", Batches(), quant_format=QuantFormat.QDQ,
        extra_options={"AddQDQPairToWeight": True},
    )  # fmt: skip
    found = mpq_onnx.inspect(tmp_path / "qat.onnx")
    assert found.weights == 2 * 16 * 16 and [each.bits for each in found.layers] == [8, 8]
    card = mpq_onnx.card(tmp_path / "qat.onnx")["weights"]
    assert (card["bits"], card["stored as"], card["share of weights"]) == ("8", "float", 1)
    evaluated = mpq_onnx.evaluate(tmp_path / "qat.onnx", "random?count=8", baseline=tmp_path / "float.onnx")
    assert evaluated.widths.mean_weight_bits == 8


class Batches(CalibrationDataReader):
    """For onnxruntime's calibration."""

    def __init__(self) -> None:
        self.left = iter([{"x": inputs(16)}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


def test_a_file_that_onnxruntime_does_not_run_replaces_no_other(
    cnn_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some kernels refuse an edited range of 10^30 when they run, not when they are loaded."""
    options = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", bias_correction=False)
    mpq_onnx.allocate(
        cnn_file, "random?count=32", tmp_path / "out", weight_bits=4, activation_bits=8, options=options
    )

    def refuse(*given: object) -> list[float]:
        raise DataError("the model: onnxruntime cannot run on this data")

    monkeypatch.setattr(timing, "interleaved_milliseconds", refuse)
    output = tmp_path / "kept.onnx"
    output.write_bytes(b"kept")
    refused = run_inside("apply", cnn_file, tmp_path / "out" / "allocation.json", "-o", output)
    assert_one_line(refused, 3, "onnxruntime cannot run")
    assert output.read_bytes() == b"kept" and not (tmp_path / "kept.card.md").exists()


@pytest.mark.parametrize("name", ["seed", "batch_size", "rounding_examples"])
@pytest.mark.parametrize("value", [1.5, 2.0, np.float32(3)])
def test_whole_numbers_are_whole(name: str, value: float) -> None:
    for request in (mpq_onnx.AllocateOptions, lambda **named: mpq_onnx.EnergyOptions(("shot",), **named)):
        if name == "rounding_examples" and request is not mpq_onnx.AllocateOptions:
            continue
        with pytest.raises(UsageError, match=f"{name.replace('_', '-')} .*: must be a whole number"):
            request(**{name: value})
    assert getattr(mpq_onnx.AllocateOptions(**{name: np.int64(2)}), name) == 2


def test_a_list_of_values_is_as_good_as_a_tuple() -> None:
    given = mpq_onnx.EnergyOptions(["shot"], max=["energy_uj=3"])
    assert given == mpq_onnx.EnergyOptions(("shot",), max=("energy_uj=3",)) and hash(given)


@pytest.mark.parametrize("seed", [-1, 2**31])
def test_seeds_that_no_generator_takes(seed: int, cnn_file: Path, tmp_path: Path) -> None:
    calls = (
        lambda: mpq_onnx.evaluate(cnn_file, "random?count=4", seed=seed),
        lambda: mpq_onnx.calibrate(cnn_file, "random?count=4", tmp_path / "c.json", seed=seed),
        lambda: mpq_onnx.export(cnn_file, tmp_path / "m.onnx", seed=seed),
    )
    for call in calls:
        with pytest.raises(UsageError, match=f"seed {seed}: must be at least 0"):
            call()


def test_options_of_widths_without_a_budget_of_bits_are_refused_beside_noise(
    cnn_file: Path, tmp_path: Path
) -> None:
    command = ("allocate", cnn_file, "--data", "random?count=16", "--noise", "shot", "--energy-per-mac", 5)
    widths = ("--exclude", "stem", "--rounding", "nearest", "--effort", "quick")
    refused = run_inside(*command, *widths, "-o", tmp_path / "out")
    assert_one_line(refused, 2, "--exclude", "--rounding", "give --weight-bits or --activation-bits too")
    assert not (tmp_path / "out").exists()
    assert run_inside(*command, "--effort", "quick", "-o", tmp_path / "out").returncode == 0


def test_the_check_of_noise_says_how_many_examples_it_has_seen(cnn_file: Path, tmp_path: Path) -> None:
    result = mpq_onnx.allocate_energy(
        cnn_file, "random?count=32", tmp_path / "out", energy_per_mac=5,
        options=mpq_onnx.EnergyOptions(("shot",), method="uniform"),
    )  # fmt: skip
    assert (result.noise_check.examples, result.noise_check.draws) == (8, 256)


@pytest.mark.parametrize(("bops", "says"), [(None, True), ("50G", True), ("tight", False)])
def test_what_is_left_of_a_mean_is_said_unless_a_limit_keeps_it(
    bops: str | None, says: bool, cnn_file: Path, tmp_path: Path
) -> None:
    def allocated(*limits: str) -> mpq_onnx.AllocateResult:
        return mpq_onnx.allocate(
            cnn_file, "random?count=32", tmp_path / "out", weight_bits=4.9, activation_bits=8, overwrite=True,
            options=mpq_onnx.AllocateOptions(effort="quick", bit_choices=(2, 8), max=limits),
        )  # fmt: skip

    limit = () if bops is None else (f"bops={bops}",)
    if bops == "tight":
        limit = (f"bops={allocated().chosen.allocation.bit_operations * 0.8:.0f}",)
    assert any("unspent" in note for note in allocated(*limit).notes) == says


def test_one_run_at_a_time_in_a_folder(cnn_file: Path, tmp_path: Path) -> None:
    data, folder = "random?count=32", tmp_path / "out"
    quick = mpq_onnx.AllocateOptions(effort="quick", method="uniform")
    calls = (
        lambda: mpq_onnx.allocate(cnn_file, data, folder, weight_bits=4, options=quick, overwrite=True),
        lambda: mpq_onnx.allocate_energy(
            cnn_file,
            data,
            folder,
            energy_per_mac=5,
            options=mpq_onnx.EnergyOptions(("shot",)),
            overwrite=True,
        ),
        lambda: mpq_onnx.sweep(cnn_file, {"data": data, "weight-bits": 4}, folder, overwrite=True),
        lambda: mpq_onnx.handoff(cnn_file, folder, to="json", overwrite=True),
    )
    with alone_in(folder):
        before = sorted(folder.rglob("*"))
        for call in calls:
            with pytest.raises(UsageError, match="another run is at work there"):
                call()
        assert sorted(folder.rglob("*")) == before
    assert not folder.exists()
    calls[0]()
    assert LOCK_FILE not in {path.name for path in folder.iterdir()}


def test_no_result_is_written_over_what_it_is_made_from(cnn_file: Path, tmp_path: Path) -> None:
    data, folder = "random?count=32", tmp_path / "out"
    quick = mpq_onnx.AllocateOptions(effort="quick", method="uniform")
    mpq_onnx.allocate(cnn_file, data, folder, weight_bits=4, options=quick, keep_candidates=True)
    shots = mpq_onnx.EnergyOptions(("shot",))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    link = tmp_path / "linked.onnx"
    link.symlink_to(folder / "model.onnx")
    for source in (folder / "model.onnx", folder / "candidates" / "uniform.onnx", link):
        for call in (
            lambda source: mpq_onnx.allocate(
                source, data, folder, weight_bits=4, options=quick, overwrite=True
            ),
            lambda source: mpq_onnx.allocate_energy(
                source, data, folder, energy_per_mac=5, options=shots, overwrite=True
            ),
            lambda source: mpq_onnx.handoff(source, folder, to="json", overwrite=True),
            lambda source: mpq_onnx.sweep(source, {"data": data, "weight-bits": 4}, folder, overwrite=True),
        ):
            with pytest.raises(UsageError, match=r"is among the results in .* that --overwrite replaces"):
                call(source)
            assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    shutil.copy(cnn_file, folder / "float.onnx")  # no result, and stays
    mpq_onnx.allocate(
        folder / "float.onnx", data, folder, weight_bits=5, options=quick, overwrite=True,
        calibration=folder / "calibration.json",
    )  # fmt: skip
    assert (folder / "float.onnx").read_bytes() == cnn_file.read_bytes()
    assert (folder / "calibration.json").is_file()


@pytest.mark.slow
def test_two_commands_at_once_leave_one_whole_result(cnn_file: Path, tmp_path: Path) -> None:
    folder, options = tmp_path / "out", ("--effort", "quick", "--method", "uniform", "-q")
    command = [
        sys.executable,
        "-m",
        "mpq_onnx",
        "allocate",
        cnn_file,
        "--data",
        "random?count=32",
        *options,
        "-o",
        folder,
    ]
    started = [
        subprocess.Popen(
            [*map(str, command), "--weight-bits", bits], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for bits in ("3", "5")
    ]
    ends = [(each.communicate()[1].decode(), each.returncode) for each in started]
    codes = sorted(code for _, code in ends)
    assert codes == [0, 2], ends
    refused = next(text for text, code in ends if code == 2)
    assert "another run is at work there" in refused or "holds" in refused
    kept = "3" if ends[0][1] == 0 else "5"
    assert mpq_onnx.load_allocation(folder / "allocation.json").budget["weight_bits"] == float(kept)
    assert (folder / "model.onnx").is_file() and (folder / "config.yaml").is_file()


def test_no_command_writes_over_what_it_reads(cnn_file: Path, tmp_path: Path) -> None:
    options = mpq_onnx.EnergyOptions(("shot",), method="uniform")
    mpq_onnx.allocate_energy(
        cnn_file, "random?count=32", tmp_path / "noisy", energy_per_mac=5, options=options
    )
    before = cnn_file.read_bytes()
    energies = tmp_path / "noisy" / "energy.json"
    assert_one_line(run_inside("apply", cnn_file, energies, "-o", cnn_file), 2, "itself", "-o")
    assert_one_line(run_inside("export", cnn_file, "-o", cnn_file), 2, "the source itself", "-o")
    assert cnn_file.read_bytes() == before


def test_what_a_cost_table_keeps_energies_from_is_said(tmp_path: Path) -> None:
    model = dense_file(tmp_path / "m.onnx", 16)
    rows = ["node,energy_per_mac,energy_uj"]
    rows += [f"first,{energy},{energy / 10}" for energy in (1, 10, 100)]
    rows += [f"second,{energy},{energy / 10}" for energy in (1, 1000)]
    (tmp_path / "costs.csv").write_text("\n".join(rows) + "\n")

    def notes(limit: str) -> tuple[str, ...]:
        options = mpq_onnx.EnergyOptions(
            ("shot",), effort="quick", costs=str(tmp_path / "costs.csv"), max=(f"energy_uj={limit}",)
        )
        return mpq_onnx.allocate_energy(
            model, inputs(16), tmp_path / "out", options=options, overwrite=True
        ).notes

    capped, beyond = "no node gets more than 100", "would allow more than 100 a MAC"
    assert [any(words in note for note in notes("1000")) for words in (capped, beyond)] == [True, True]
    assert [any(words in note for note in notes("5")) for words in (capped, beyond)] == [True, False]


def test_bars_leave_nothing_to_the_system() -> None:
    """A worker of a cluster may be killed: what it shares with other processes would stay behind."""
    code = (
        "import multiprocessing; multiprocessing.set_start_method('spawn')\n"
        "from mpq_onnx.progress import counter\n"
        "with counter('stage', 3, 'step') as progress: progress.update()\n"
        "from multiprocessing.resource_tracker import _resource_tracker as tracker\n"
        "assert tracker._fd is None\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
