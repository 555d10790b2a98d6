"""Outputs and labels that comparisons meet: ties, NaN, outputs in another order, labels as columns and one-hot rows."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.errors import DataError
from mpq_onnx.runtime import remembering_runner, timing
from mpq_onnx.runtime.remembering_runner import RememberingRunner
from mpq_onnx.runtime.session import Runner

RNG = np.random.default_rng(0)
CLASSES = 8
FLOAT = TensorProto.FLOAT


def logits_file(path: Path, *operators: str) -> Path:
    """x [n, 8] times the identity, through `operators` one after the other, as y."""
    names = ["h", *(f"h{index}" for index in range(len(operators) - 1)), "y"] if operators else ["y"]
    nodes = [helper.make_node("MatMul", ["x", "w"], names[:1], "product")]
    for operator, source, result in zip(operators, names, names[1:], strict=False):
        nodes.append(helper.make_node(operator, [source], [result]))
    weight = {"w": np.eye(CLASSES, dtype=np.float32)}
    onnx.save(make_model(nodes, [("x", FLOAT, ["n", CLASSES])], [("y", ["n", CLASSES])], weight), path)
    return path


def twins_file(path: Path, outputs: str, renamed: str = "") -> Path:
    """Two products of one input, which differ, given away in the order of `outputs`; `renamed` gives other names."""
    rng = np.random.default_rng(5)
    weights = {name: rng.standard_normal((CLASSES, CLASSES)).astype(np.float32) for name in "wv"}
    nodes = [
        helper.make_node("MatMul", ["x", weight], [output + renamed], f"to_{output}")
        for weight, output in zip("wv", "pq", strict=True)
    ]
    shapes = [(output + renamed, ["n", CLASSES]) for output in outputs]
    onnx.save(make_model(nodes, [("x", FLOAT, ["n", CLASSES])], shapes, weights), path)
    return path


def examples(count: int = 64) -> np.ndarray:
    return RNG.standard_normal((count, CLASSES)).astype(np.float32)


@pytest.mark.parametrize("values", [1, 2, 3])
def test_top1_is_never_above_top5(tmp_path: Path, values: int) -> None:
    """Few values make many ties; the lower class comes first among them, in both."""
    x = RNG.integers(0, values, (200, CLASSES)).astype(np.float32)
    labels = RNG.integers(0, CLASSES, 200)
    found = mpq_onnx.evaluate(logits_file(tmp_path / "m.onnx"), (x, labels)).evaluation.metrics
    order = np.argsort(-x, axis=1, kind="stable")
    assert found["top1"].value == (x.argmax(axis=1) == labels).mean() == (order[:, 0] == labels).mean()
    assert found["top5"].value == (order[:, :5] == labels[:, None]).any(axis=1).mean()
    assert found["top1"].value <= found["top5"].value


def test_nan_is_no_prediction_in_any_metric(tmp_path: Path) -> None:
    model = logits_file(tmp_path / "m.onnx", "Sqrt")
    x = np.abs(examples(40)) + 0.1
    x[:10, 3] = -1
    found = mpq_onnx.evaluate(model, (x, x.argmax(axis=1)), baseline=model)
    metrics, comparison = found.evaluation.metrics, found.evaluation.comparison
    assert comparison is not None and comparison.agreement is not None
    assert metrics["top1"].value == metrics["top5"].value == comparison.agreement.value == 0.75
    said = [note for note in found.notes if "NaN" in note]
    assert len(said) == 1 and "NaN in 10 of 40 examples (the baseline's: NaN in 10)" in said[0]
    unlabelled = mpq_onnx.evaluate(model, x, baseline=model, task="image-classification").evaluation
    assert unlabelled.metrics["top1"].value == 0.75
    only_ours = mpq_onnx.evaluate(model, x, baseline=logits_file(tmp_path / "b.onnx", "Relu")).evaluation
    assert only_ours.not_finite.nan == 10 and only_ours.metrics["top1"].value == 0.75
    only_theirs = mpq_onnx.evaluate(tmp_path / "b.onnx", x, baseline=model).evaluation
    assert only_theirs.metrics["top1"].value == 0.75 and only_theirs.not_finite.nan == 0


def test_a_logit_that_is_nan_is_neither_yes_nor_no(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Sqrt", ["h"], ["y"])]
    weight = {"w": np.eye(CLASSES, 1, dtype=np.float32)}
    model = make_model(nodes, [("x", FLOAT, ["n", CLASSES])], [("y", ["n", 1])], weight)
    x = np.abs(examples(20)) + 0.1
    x[:5, 0] = -1
    labels = np.ones(20, int)
    labels[:5] = 0
    found = mpq_onnx.evaluate(model, (x, labels), baseline=model, task="binary-classification").evaluation
    assert found.comparison is not None and found.comparison.agreement is not None
    assert found.metrics["accuracy"].value == found.comparison.agreement.value == 0.75
    assert found.comparison.metrics["accuracy"].value == 0.75


def test_infinite_outputs_are_said_and_have_predictions(tmp_path: Path) -> None:
    model = logits_file(tmp_path / "m.onnx", "Relu", "Log")
    x = np.abs(examples(30))
    x[:7, 2] = 0
    found = mpq_onnx.evaluate(model, (x, x.argmax(axis=1)), baseline=model)
    assert found.evaluation.metrics["top1"].value == 1
    said = [note for note in found.notes if "infinity" in note]
    assert said == ["the outputs hold infinity in 7 of 30 examples (the baseline's: infinity in 7)"]
    finite = mpq_onnx.evaluate(model, np.abs(examples(30)) + 1)
    assert not any("the outputs hold" in note for note in finite.notes)


def test_outputs_are_compared_by_name(tmp_path: Path) -> None:
    x = examples()
    first, second = twins_file(tmp_path / "pq.onnx", "pq"), twins_file(tmp_path / "qp.onnx", "qp")
    found = mpq_onnx.evaluate(second, x, baseline=first).evaluation.comparison
    assert found is not None and found.output_sqnr == np.inf
    assert [part.part for part in found.parts] == ["q", "p"]
    others = twins_file(tmp_path / "others.onnx", "pq", renamed="_other")
    by_place = mpq_onnx.evaluate(others, x, baseline=first).evaluation.comparison
    assert by_place is not None and by_place.output_sqnr == np.inf
    crossed = mpq_onnx.evaluate(others, x, baseline=second).evaluation.comparison
    assert crossed is not None and crossed.output_sqnr is not None and crossed.output_sqnr < 10


def test_noisy_outputs_are_compared_by_name(tmp_path: Path) -> None:
    x = examples()
    first, second = twins_file(tmp_path / "pq.onnx", "pq"), twins_file(tmp_path / "qp.onnx", "qp")
    options = mpq_onnx.EnergyOptions(effort="quick", method="uniform", noise=("shot",))
    mpq_onnx.allocate_energy(first, x, tmp_path / "out", energy_per_mac=1e8, options=options)
    noisy = tmp_path / "out" / "model.onnx"
    found = [mpq_onnx.evaluate(noisy, x, baseline=each, repeats=2).evaluation for each in (first, second)]
    assert found[0].comparison is not None and found[1].comparison is not None
    assert found[0].comparison.output_sqnr == found[1].comparison.output_sqnr
    assert found[0].comparison.output_sqnr is not None and found[0].comparison.output_sqnr > 20


@pytest.mark.parametrize("form", ["column", "one-hot"])
def test_labels_in_columns_and_one_hot_rows_are_understood(tmp_path: Path, form: str) -> None:
    model, x = logits_file(tmp_path / "m.onnx"), examples()
    plain = x.argmax(axis=1)
    plain[::4] = (plain[::4] + 1) % CLASSES
    labels = plain[:, None] if form == "column" else np.eye(CLASSES)[plain]
    np.savez(tmp_path / "x.npz", x=x, labels=labels)
    data = f"npz:{tmp_path / 'x.npz'}"
    found = mpq_onnx.evaluate(model, data, baseline=model)
    assert found.evaluation.metrics["top1"].value == 0.75
    assert any("one-hot" in note for note in found.notes) == (form == "one-hot")
    difference = found.evaluation.comparison and found.evaluation.comparison.top1_difference
    assert difference is not None and difference.value == 0
    options = mpq_onnx.AllocateOptions(effort="quick", labels="real", method="gradient")
    result = mpq_onnx.allocate(model, data, tmp_path / "out", weight_bits=8, options=options)
    assert any("one-hot" in note for note in result.notes) == (form == "one-hot")


@pytest.mark.parametrize(
    "labels", [np.eye(5)[:, :4], 2 * np.eye(CLASSES)[:5], np.ones((5, CLASSES)), np.ones((5, 2, 2))]
)
def test_labels_of_other_shapes_get_a_line_that_says_what_is_wanted(
    tmp_path: Path, labels: np.ndarray
) -> None:
    model = logits_file(tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=examples(5), labels=labels)
    data = f"npz:{tmp_path / 'x.npz'}"
    shape = ", ".join(map(str, ("examples", *labels.shape[1:])))
    wanted = (f"labels of shape [{shape}]", "one number an example, 0 to 7")
    assert_one_line(run_inside("evaluate", model, "--data", data), 3, *wanted)
    with pytest.raises(DataError, match="one number an example"):
        mpq_onnx.allocate(
            model, data, tmp_path / "out", weight_bits=4,
            options=mpq_onnx.AllocateOptions(effort="quick", labels="real", method="gradient"),
        )  # fmt: skip


def layers_file(path: Path, extra: str = "") -> Path:
    """Two Gemms with a Relu between and `extra` at the end, as exporters write them: no names, no types of inner tensors."""
    first, second = (weights(np.random.default_rng(seed), CLASSES, CLASSES) for seed in (1, 2))
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "v"], [f"s{extra}" if extra else "y"], transB=1),
    ]
    if extra:
        nodes.append(helper.make_node(extra, [f"s{extra}"], ["y"]))
    model = make_model(
        nodes, [("x", FLOAT, ["n", CLASSES])], [("y", ["n", CLASSES])], {"w": first, "v": second}
    )
    onnx.save(model, path)
    return path


def test_every_node_of_a_file_without_types_is_compared(tmp_path: Path) -> None:
    raw, x = layers_file(tmp_path / "raw.onnx"), examples()
    options = mpq_onnx.AllocateOptions(effort="quick", method="uniform")
    quantized = mpq_onnx.allocate(
        raw, x, tmp_path / "out", weight_bits=4, activation_bits=8, options=options
    ).model_path
    mpq_onnx.export(str(raw), tmp_path / "float.onnx")
    found = mpq_onnx.compare(raw, quantized, x)
    assert [each.tensor for each in found] == ["h", "r", "y"] and found.notes == ()
    exported = mpq_onnx.compare(tmp_path / "float.onnx", quantized, x)
    assert [(each.tensor, each.sqnr) for each in found] == [(each.tensor, each.sqnr) for each in exported]


def test_nodes_that_cannot_be_compared_are_said(tmp_path: Path) -> None:
    first, second = layers_file(tmp_path / "a.onnx", "Sigmoid"), layers_file(tmp_path / "b.onnx", "Tanh")
    np.savez(tmp_path / "x.npz", x=examples())
    done = run_inside("compare", first, second, "--data", f"npz:{tmp_path / 'x.npz'}")
    assert done.returncode == 0 and "NOTE: not compared" in done.stdout and "sSigmoid (Gemm)" in done.stdout
    turned = onnx.load(second)
    turned.graph.node[1].output[0] = "r_"
    turned.graph.node.insert(2, helper.make_node("Unsqueeze", ["r_", "axes"], ["r"]))
    turned.graph.node[3].CopyFrom(helper.make_node("MatMul", ["r", "v"], ["sTanh"]))
    turned.graph.node.append(helper.make_node("Squeeze", ["t", "axes"], ["y"]))
    turned.graph.node[4].output[0] = "t"
    turned.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "axes"))
    found = mpq_onnx.compare(second, turned, examples())
    assert [each.tensor for each in found] == ["h", "y"]
    assert len(found.notes) == 1 and "other shapes: r (Relu), sTanh (Gemm)" in found.notes[0]


def test_a_remembered_answer_is_the_same(cnn_file: Path, image_file: Path) -> None:
    images = np.load(image_file)["images"][:12]
    plain = Runner(str(cnn_file))
    remembering = RememberingRunner(plain)
    (name,) = plain.inputs
    floats = images.astype(np.float32)
    for batch in (floats[:4], floats[4:], floats[:4], floats[:4] + 1):
        (wanted,), (found,) = plain.run({name: batch}), remembering.run({name: batch})
        np.testing.assert_array_equal(found, wanted)
    assert remembering.run({name: floats[:4]})[0] is remembering.run({name: floats[:4]})[0]


def test_what_is_timed_is_computed(
    cnn_file: Path, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A remembered answer takes no time."""
    timed = []

    def took(runners: tuple[Runner, ...], inputs: object) -> list[float]:
        timed.extend(runners)
        return [1.0, 2.0]

    monkeypatch.setattr(timing, "interleaved_milliseconds", took)
    result = mpq_onnx.allocate(
        cnn_file, f"npz:{image_file}?count=32", tmp_path, weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(method="uniform", rounding="nearest"),
    )  # fmt: skip
    assert any("runs slower than float" in note for note in result.notes)
    assert len(timed) == 2 and all(type(runner) is Runner for runner in timed)


FORMS = {
    "rows": [helper.make_node("NonZero", ["p"], ["found"])],
    "columns": [
        helper.make_node("NonZero", ["p"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["found"]),
    ],
    "values": [
        helper.make_node("NonZero", ["p"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["columns"]),
        helper.make_node("GatherND", ["p", "columns"], ["found"]),
    ],
}


def search_file(path: Path, form: str, outputs: str, operator: str = "Relu") -> Path:
    """What is not 0 behind `operator` of a product, as `found`, and y, a product of that; `outputs` is their order."""
    rng = np.random.default_rng(5)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], "inner"),
        helper.make_node(operator, ["h"], ["p"], "chosen"),
        *FORMS[form],
        helper.make_node("MatMul", ["h", "v"], ["y"], "outer"),
    ]
    tensors = {name: rng.standard_normal((CLASSES, CLASSES)).astype(np.float32) for name in "wv"}
    shapes = {"found": {"rows": [2, "k"], "columns": ["k", 2], "values": ["k"]}[form], "y": ["n", CLASSES]}
    names = ["found", "y"] if outputs == "found first" else ["y", "found"]
    model = make_model(
        nodes, [("x", FLOAT, ["n", CLASSES])], [(name, shapes[name]) for name in names], tensors
    )
    if form != "values":
        model.graph.output[names.index("found")].type.tensor_type.elem_type = TensorProto.INT64
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("outputs", ["found first", "found last"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "baseline", ["Relu", "Exp"]
)  # which leaves every number: the length hangs on the examples alone
def test_an_output_as_long_as_the_data_make_it_is_left_out(
    baseline: str, form: str, outputs: str, tmp_path: Path
) -> None:
    exact = search_file(tmp_path / "exact.onnx", form, outputs, baseline)
    found = search_file(tmp_path / "found.onnx", form, outputs, "Relu" if baseline == "Exp" else "Softplus")
    for count in (2, 8, 40):  # 2 are as many as a row of places has numbers
        evaluated = mpq_onnx.evaluate(found, examples(count), baseline=exact)
        comparison = evaluated.evaluation.comparison
        assert comparison is not None and comparison.output_sqnr is not None
        assert comparison.worst_part is not None and comparison.worst_part.startswith("p")
        assert comparison.output_sqnr < np.inf  # what `found` is found in is compared in its place
        parts = {part.part: part for part in comparison.parts}
        kinds = {name.split("[")[0]: part.kind for name, part in parts.items()}
        assert kinds == {"y": "floats", "found": "lengths", "p": "floats"}
        assert parts["y"].sqnr is not None and parts["y"].sqnr.value == np.inf
        assert any("output found is left out of the comparison" in note for note in evaluated.notes)
    assert "lengths, not compared" in run_inside(
        "evaluate", found, "--data", "random?count=8", "--baseline", exact
    ).stdout  # fmt: skip


def test_a_length_that_turns_out_to_hang_on_the_data(tmp_path: Path) -> None:
    """The examples that layouts are found on have no zeros behind Relu, later ones have."""
    model = search_file(tmp_path / "m.onnx", "rows", "found last")
    weight = next(each for each in onnx.load(model).graph.initializer if each.name == "w")
    inverse = np.linalg.inv(onnx.numpy_helper.to_array(weight))
    inner = np.abs(examples(40)) + 1
    inner[20, :3] = -1
    found = mpq_onnx.evaluate(
        model, (inner @ inverse).astype(np.float32), baseline=model
    ).evaluation.comparison
    assert found is not None and found.output_sqnr == np.inf
    assert found.agreement is not None and found.agreement.value == 1


def test_the_output_of_another_network_is_named(tmp_path: Path) -> None:
    one, other = twins_file(tmp_path / "one.onnx", "pq"), onnx.load(tmp_path / "one.onnx")
    weight = next(each for each in other.graph.initializer if each.name == "v")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.zeros((CLASSES, 3), np.float32), "v"))
    other.graph.output[1].type.tensor_type.shape.dim[1].dim_value = 3
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(
        DataError, match=r"output q has shape \(9, 3\) in the model, \(9, 8\) in the baseline"
    ):
        mpq_onnx.evaluate(tmp_path / "other.onnx", examples(9), baseline=one)


def test_allocate_beside_an_output_as_long_as_the_data_make_it(tmp_path: Path) -> None:
    found = mpq_onnx.allocate(
        search_file(tmp_path / "m.onnx", "rows", "found first"), examples(), tmp_path / "out", weight_bits=4, activation_bits=6,
        options=mpq_onnx.AllocateOptions(effort="quick"),
    )  # fmt: skip
    comparison = found.chosen.evaluation.comparison
    assert comparison is not None and comparison.worst_part == "y"
    assert min(found.mirror_check.optimized_sqnr, found.mirror_check.unoptimized_sqnr) > 40
    assert found.mirror_check.same_predictions == 1


def test_a_session_without_an_arena_remembers_too(cnn_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering_runner, "ARENA", "cpu:7")
    plain = Runner(cnn_file, "cpu")
    feeds = {"images": np.random.default_rng(0).standard_normal((4, 3, 12, 12)).astype(np.float32)}
    (found,) = RememberingRunner(plain).run(feeds)
    np.testing.assert_array_equal(found, plain.run(feeds)[0])
