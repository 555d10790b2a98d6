"""Forms in which other tools write files, wherever such a file is read, and what data and batches they do not take."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_cnn, make_model, weights
from onnx import TensorProto, helper
from test_cli import assert_one_line, run_inside

import mpq_onnx

DATA = "random?count=8"
RNG = np.random.default_rng(0)
MACHINE_LEARNING = "ai.onnx.ml"


def with_constant_inputs(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    """Its constants listed among its inputs, as the file format's third version has it."""
    model.ir_version = version
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    onnx.checker.check_model(model)
    return model


@pytest.mark.parametrize("version", [3, 8])
def test_constants_among_the_inputs_are_no_inputs_of_any_command(version: int, tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    onnx.save(with_constant_inputs(make_cnn(opset=8), version), model)
    plain = tmp_path / "plain.onnx"
    onnx.save(make_cnn(opset=8), plain)
    for form in ("json", "zigzag", "qcdq"):
        mpq_onnx.handoff(model, tmp_path / form, to=form, data=DATA)
    listed = json.loads((tmp_path / "json" / "layers.json").read_text())
    assert listed["macs"] == mpq_onnx.inspect(plain).to_dict()["macs"]
    onnx.checker.check_model(tmp_path / "qcdq" / "model.onnx")
    assert len(mpq_onnx.compare(model, plain, DATA)) > 5
    assert mpq_onnx.evaluate(model, DATA, baseline=plain).evaluation.examples == 8
    for command in (
        ("inspect", model),
        ("card", model),
        ("report", "--graph", model, "-o", tmp_path / "graph.svg"),
        ("calibrate", model, "--data", DATA, "-o", tmp_path / "calibration.json"),
    ):
        assert run_inside(*command).returncode == 0, command


def dictionary_classifier() -> onnx.ModelProto:
    """As scikit-learn's converters write it: the name of the class, and a dictionary of probabilities."""
    names = ["cat", "dog", "owl"]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "product"),
        helper.make_node("Softmax", ["h"], ["p"], "soft"),
        helper.make_node("ArgMax", ["p"], ["best"], "best", axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder", ["best"], ["label"], "names", domain=MACHINE_LEARNING, keys_int64s=[0, 1, 2],
            values_strings=names,
        ),
        helper.make_node("ZipMap", ["p"], ["zipped"], "zip", domain=MACHINE_LEARNING, classlabels_strings=names),
    ]  # fmt: skip
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 8])], [], {"w": weights(RNG, 8, 3)})
    model.opset_import.append(helper.make_opsetid(MACHINE_LEARNING, 2))
    kinds = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    model.graph.output.extend(
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, ["n"]),
            helper.make_value_info("zipped", helper.make_sequence_type_proto(kinds)),
        ]
    )
    onnx.checker.check_model(model)
    return model


def test_dictionaries_and_names_of_classes_are_compared_as_numbers(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    onnx.save(dictionary_classifier(), model)
    alone = mpq_onnx.evaluate(model, DATA)
    assert any("zipped" in note and "cat, dog, owl" in note for note in alone.notes)
    exported = mpq_onnx.export(model, tmp_path / "e.onnx")
    assert any("zipped is a tensor, no longer a dictionary" in note for note in exported.notes)
    beside = mpq_onnx.evaluate(tmp_path / "e.onnx", DATA, baseline=model).evaluation.comparison
    assert beside is not None
    parts = {part.part: part for part in beside.parts}
    assert parts["zipped"].sqnr.value > 100
    assert parts["label"].agreement is None or parts["label"].agreement.value == 1
    handed = mpq_onnx.handoff(model, tmp_path / "json", to="json", data=DATA)
    assert any("zipped" in note for note in handed.notes)
    said = run_inside(
        "allocate", model, "--data", DATA, "--weight-bits", 8, "--activation-bits", 8, "--effort", "quick",
        "--method", "uniform", "-o", tmp_path / "out",
    )  # fmt: skip
    assert said.returncode == 0 and "NOTE: output zipped" in said.stdout + said.stderr


@pytest.mark.parametrize("order", [("best", "p"), ("p", "best")])
def test_a_class_beside_its_scores_is_counted_as_right_or_wrong(
    order: tuple[str, str], tmp_path: Path
) -> None:
    """Classifiers of scikit-learn give both; the training and its candidates go by the scores too."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "product"),
        helper.make_node("Softmax", ["h"], ["p"], "soft"),
        helper.make_node("ArgMax", ["p"], ["best"], "best", axis=1, keepdims=0),
    ]
    matrix = weights(RNG, 8, 3)
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 8])], [], {"w": matrix})
    of_name = {
        "best": helper.make_tensor_value_info("best", TensorProto.INT64, ["n"]),
        "p": helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 3]),
    }
    model.graph.output.extend(of_name[name] for name in order)
    onnx.save(model, tmp_path / "m.onnx")
    x = RNG.normal(size=(96, 8)).astype(np.float32)
    labels = np.where(RNG.random(96) < 0.8, (x @ matrix).argmax(axis=1), 0)
    np.savez(tmp_path / "d.npz", x=x, labels=labels)
    result = mpq_onnx.allocate(
        tmp_path / "m.onnx", f"npz:{tmp_path / 'd.npz'}", tmp_path / "out", weight_bits=3, activation_bits=8
    )
    assert "top1" in result.chosen.evaluation.metrics
    found = mpq_onnx.evaluate(
        tmp_path / "out" / "model.onnx", f"npz:{tmp_path / 'd.npz'}", baseline=tmp_path / "m.onnx"
    ).evaluation.comparison
    assert found is not None and found.agreement is not None
    right = ((x @ matrix).argmax(axis=1) == labels).mean()
    assert found.metrics["top1"].value == pytest.approx(right)
    assert {part.part for part in found.parts} == {"best", "p"}


def sequence_model(ends_so: bool = False) -> onnx.ModelProto:
    """Rows that are split into a sequence and taken out again where data tell, or given away as one."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], "most", keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["is_more"], "compare"),
        helper.make_node("Cast", ["is_more"], ["place"], "place", to=TensorProto.INT64),
        helper.make_node("SplitToSequence", ["x"], ["parts"], "split", axis=1, keepdims=1),
        helper.make_node("SequenceAt", ["parts", "place"], ["a"], "take"),
        helper.make_node("MatMul", ["a", "w"], ["y"], "product"),
    ]
    model = make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", 2, 8])], [("y", ["n", 1, 6])],
        {"w": weights(RNG, 8, 6), "limit": np.float32(0.5)},
    )  # fmt: skip
    if ends_so:
        kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
        model.graph.output.append(helper.make_value_info("parts", kind))
    onnx.checker.check_model(model)
    return model


def test_sequences_within_a_network_are_no_tensors(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    onnx.save(sequence_model(), model)
    mpq_onnx.handoff(model, tmp_path / "json", to="json", data=DATA)
    mpq_onnx.calibrate(model, DATA, tmp_path / "calibration.json")
    assert "parts" not in json.loads((tmp_path / "calibration.json").read_text())["tensors"]
    for noise in ((), ("--noise", "shot", "--energy-per-mac", 10)):
        widths = () if noise else ("--weight-bits", 8)
        refused = run_inside(
            "allocate", model, "--data", DATA, *noise, *widths, "-o", tmp_path / "out", "--quiet"
        )
        assert_one_line(refused, 3, "SplitToSequence", "no torch mirror")


def test_a_sequence_among_the_outputs_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    onnx.save(sequence_model(ends_so=True), model)
    for command in (("inspect", model), ("evaluate", model, "--data", DATA)):
        assert_one_line(run_inside(*command), 3, "output parts", "is a sequence of tensors")


def grouped_normalization() -> onnx.ModelProto:
    """Two convolutions and a GroupNorm between them as exporters write it."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "first", pads=[1] * 4),
        helper.make_node("Reshape", ["c", "groups"], ["g1"], "group"),
        helper.make_node("InstanceNormalization", ["g1", "ones", "zeros"], ["g2"], "normalize"),
        helper.make_node("Reshape", ["g2", "back"], ["g3"], "ungroup"),
        helper.make_node("Mul", ["g3", "gamma"], ["g4"], "scale"),
        helper.make_node("Add", ["g4", "beta"], ["g5"], "shift"),
        helper.make_node("Sigmoid", ["g5"], ["s"], "gate"),
        helper.make_node("Mul", ["g5", "s"], ["a"], "swish"),
        helper.make_node("MeanVarianceNormalization", ["a"], ["m"], "plain"),
        helper.make_node("Conv", ["m", "v"], ["y"], "second", pads=[1] * 4),
    ]
    tensors = {
        "w": weights(RNG, 8, 3, 3, 3), "groups": np.array([0, 4, -1]), "ones": np.ones(4, np.float32),
        "zeros": np.zeros(4, np.float32), "back": np.array([0, 8, 6, 6]),
        "gamma": RNG.uniform(0.5, 2, (8, 1, 1)).astype(np.float32), "beta": weights(RNG, 8, 1, 1),
        "v": weights(RNG, 8, 8, 3, 3),
    }  # fmt: skip
    return make_model(nodes, [("x", TensorProto.FLOAT, ["n", 3, 6, 6])], [("y", ["n", 8, 6, 6])], tensors)


def test_products_behind_a_group_norm_are_counted_without_a_run(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    onnx.save(grouped_normalization(), model)
    found = mpq_onnx.inspect(model)
    assert found.macs == 36 * 8 * (27 + 72) and not found.notes
    mpq_onnx.export(model, tmp_path / "e.onnx")
    assert "GroupNormalization" in {node.op_type for node in onnx.load(tmp_path / "e.onnx").graph.node}


@pytest.mark.parametrize("has_mean", [False, True])
def test_a_network_for_one_batch_size_is_refused_in_words_of_its_own(has_mean: bool, tmp_path: Path) -> None:
    """A mean for each of four examples makes four of one, where one is taken for all."""
    tensors = {"w": weights(RNG, 8, 3, 3, 3), "flat": np.array([4, 8 * 36])}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("Reshape", ["c", "flat"], ["y"], "flatten"),
    ]
    if has_mean:
        tensors["mean"] = np.ones((4, 1, 1, 1), np.float32)
        nodes.insert(0, helper.make_node("Sub", ["x", "mean"], ["centred"], "mean"))
        nodes[1].input[0] = "centred"
    model = tmp_path / "m.onnx"
    source = make_model(nodes, [("x", TensorProto.FLOAT, (4, 3, 8, 8))], [("y", [4, 8 * 36])], tensors)
    onnx.save(source, model)
    refused = run_inside("allocate", model, "--data", DATA, "--weight-bits", 8, "-q", "-o", tmp_path / "out")
    said = "takes 4 examples at once, and no other number (axis 0 of input x [4, 3, 8, 8]"
    assert_one_line(refused, 3, said, "mpq-onnx export")
    assert "invalid" not in refused.stderr and "Given groups" not in refused.stderr


def test_whose_the_multiplications_of_a_fixed_batch_are(tmp_path: Path) -> None:
    """Three rows of one example, whose channels the network makes itself: its products divide by three all the same."""
    tensors = {"w": weights(RNG, 8, 6), "axis": np.array([0]), "k": weights(RNG, 3, 3, 1, 1)}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "mix"),
        helper.make_node("Unsqueeze", ["m", "axis"], ["one"], "batch"),
        helper.make_node("Conv", ["one", "k"], ["y"], "conv"),
    ]
    model = tmp_path / "m.onnx"
    onnx.save(make_model(nodes, [("x", TensorProto.FLOAT, (3, 5, 8))], [("y", [1, 3, 5, 6])], tensors), model)
    found = mpq_onnx.inspect(model)
    assert found.macs == 3 * 5 * 8 * 6 + 5 * 6 * 9
    assert "of one, where axis 0 of input x [3, 5, 8]" in found.notes[0]


@pytest.mark.parametrize("kind", [np.complex64, str])
def test_images_that_are_no_numbers_are_refused(kind: type, tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    onnx.save(make_cnn(), model)
    np.savez(tmp_path / "d.npz", images=RNG.integers(0, 255, (8, 3, 12, 12)).astype(kind))
    refused = run_inside("evaluate", model, "--data", f"npz:{tmp_path / 'd.npz'}")
    assert_one_line(refused, 3, "input images holds", "not numbers")


def test_a_linear_model_is_to_be_exported_before_it_is_handed_off(tmp_path: Path) -> None:
    node = helper.make_node(
        "LinearRegressor", ["x"], ["y"], "regress", domain=MACHINE_LEARNING, targets=2,
        coefficients=[float(each) for each in range(16)], intercepts=[0.5, 1.0],
    )  # fmt: skip
    source = make_model([node], [("x", TensorProto.FLOAT, ["n", 8])], [("y", ["n", 2])], {})
    source.opset_import.append(helper.make_opsetid(MACHINE_LEARNING, 1))
    model = tmp_path / "m.onnx"
    onnx.save(source, model)
    refused = run_inside("handoff", model, "--to", "json", "-q", "-o", tmp_path / "json")
    assert_one_line(
        refused, 2, "regress (LinearRegressor, an operator of ai.onnx.ml)", "export the model first"
    )
    mpq_onnx.export(model, tmp_path / "e.onnx")
    mpq_onnx.handoff(tmp_path / "e.onnx", tmp_path / "json", to="json", data=DATA)
    assert json.loads((tmp_path / "json" / "layers.json").read_text())["macs"] == 16


def test_a_one_sided_spectrum_is_taken_for_one_where_the_file_leaves_that_to_the_default(
    tmp_path: Path,
) -> None:
    nodes = [
        helper.make_node("STFT", ["x", "step", "window"], ["spectrum"], "spectrum"),
        helper.make_node("Split", ["spectrum"], ["re", "im"], "split", axis=3, num_outputs=2),
        helper.make_node("Squeeze", ["re", "last"], ["s"], "squeeze"),
        helper.make_node("MatMul", ["s", "w"], ["y"], "product"),
    ]
    tensors = {
        "step": np.array(8), "window": np.hanning(16).astype(np.float32), "last": np.array([3]),
        "w": weights(RNG, 9, 4),
    }  # fmt: skip
    model = tmp_path / "m.onnx"
    inputs = [("x", TensorProto.FLOAT, ["n", 64, 1])]
    onnx.save(make_model(nodes, inputs, [("y", ["n", 7, 4])], tensors, opset=18), model)
    assert mpq_onnx.export(model, tmp_path / "e.onnx").largest_difference == 0
    mpq_onnx.handoff(tmp_path / "e.onnx", tmp_path / "json", to="json", data=DATA)
    assert json.loads((tmp_path / "json" / "layers.json").read_text())["macs"] == 7 * 9 * 4
