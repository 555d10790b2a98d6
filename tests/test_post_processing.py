"""Networks that end in post-processing: boxes that are kept, thresholds, loops, an example picked out of the batch."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.post_processing import post_processing

POSITIONS = 16
MACS = 3 * 3 * 3 * 8 * 64 + 3 * 3 * 8 * 8 * 16 + 8 * 4 * 16 + 8 * 3 * 16
Outputs = Sequence[tuple[str, int, list[int | str]]]


def detector(path: Path, behind: Sequence[NodeProto], outputs: Outputs, batch: int | str = 1) -> Path:
    """Boxes [n, 16, 4] and scores [n, 3, 16] of a small network, and what comes behind."""
    rng = np.random.default_rng(0)

    def weights(*shape: int) -> np.ndarray:
        return (rng.normal(0, 1, shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    lead = 1 if batch == 1 else 0
    tensors = {
        "w1": weights(8, 3, 3, 3), "w2": weights(8, 8, 3, 3), "wb": weights(4, 8, 1, 1), "ws": weights(3, 8, 1, 1),
        "four": np.array([lead, 4, -1]), "three": np.array([lead, 3, -1]), "most": np.array([5]),
        "overlap": np.array([0.5], np.float32), "least": np.array([0.5], np.float32), "at_2": np.array([2]),
        "at_3": np.array([3]), "axis_1": np.array([1]), "axis_0": np.array([0]), "first": np.array(0), "times": np.array(3),
        "true": np.array(True), "zeros": np.zeros((1, 1), np.float32), "ten": np.array([10]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], "conv1", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "conv2", strides=[2, 2], pads=[1] * 4),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("Conv", ["r2", "wb"], ["cb"], "box"),
        helper.make_node("Conv", ["r2", "ws"], ["cs"], "score"),
        helper.make_node("Sigmoid", ["cs"], ["sg"], "sigmoid"),
        helper.make_node("Reshape", ["cb", "four"], ["rows"], "as_rows"),
        helper.make_node("Reshape", ["sg", "three"], ["scores"], "as_scores"),
        helper.make_node("Transpose", ["rows"], ["boxes"], "as_boxes", perm=[0, 2, 1]),
        *behind,
    ]
    read = {name for node in nodes for name in node.input}
    read |= {
        name for node in nodes for each in node.attribute for inner in each.g.node for name in inner.input
    }
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 16, 16])],
        [helper.make_tensor_value_info(*each) for each in outputs],
        [numpy_helper.from_array(each, name) for name, each in tensors.items() if name in read],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


SUPPRESSION = (
    helper.make_node(
        "NonMaxSuppression",
        ["boxes", "scores", "most", "overlap", "least"],
        ["selected"],
        "nms",
        center_point_box=1,
    ),
)
PICKED = (
    *SUPPRESSION,
    helper.make_node("Slice", ["selected", "at_2", "at_3", "axis_1"], ["column"], "column"),
    helper.make_node("Squeeze", ["column", "axis_1"], ["places"], "places"),
    helper.make_node("Gather", ["boxes", "places"], ["kept"], "kept", axis=1),
)
THRESHOLD = (
    helper.make_node("ReduceMax", ["scores"], ["best"], "best", axes=[1], keepdims=0),
    helper.make_node("Greater", ["best", "least"], ["above"], "above"),
    helper.make_node("NonZero", ["above"], ["found"], "found"),
    helper.make_node("Transpose", ["found"], ["pairs"], "pairs", perm=[1, 0]),
    helper.make_node("GatherND", ["boxes", "pairs"], ["kept"], "kept"),
)
LOOP = (
    helper.make_node(
        "Loop",
        ["times", "true", "zeros"],
        ["total"],
        "loop",
        body=helper.make_graph(
            [
                helper.make_node("Gather", ["scores", "turn"], ["one"], "one", axis=1),
                helper.make_node("ReduceMax", ["one"], ["highest"], "highest", axes=[1], keepdims=1),
                helper.make_node("Add", ["sum", "highest"], ["sum_out"], "add"),
                helper.make_node("Identity", ["go"], ["go_out"], "go_on"),
            ],
            "body",
            [
                helper.make_tensor_value_info("turn", TensorProto.INT64, []),
                helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 1]),
            ],
            [
                helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
                helper.make_tensor_value_info("sum_out", TensorProto.FLOAT, [1, 1]),
            ],
        ),
    ),
)
PICK = (
    helper.make_node("Gather", ["scores", "first"], ["own"], "pick", axis=0),
    helper.make_node("ReduceMax", ["own"], ["best"], "best", axes=[0], keepdims=0),
    helper.make_node("TopK", ["best", "ten"], ["highest", "places"], "highest"),
)
FLOAT, INT = TensorProto.FLOAT, TensorProto.INT64
BOXES: tuple[str, int, list[int | str]] = ("boxes", FLOAT, [1, 16, 4])
KINDS: dict[str, tuple[Sequence[NodeProto], Outputs, str, int, list[str]]] = {
    "suppression": (SUPPRESSION, [("selected", INT, ["k", 3])], "nms", 1, ["boxes", "scores"]),
    "kept boxes": (PICKED, [("kept", FLOAT, [1, "k", 4])], "nms", 4, ["boxes", "scores"]),
    "beside another": (
        PICKED, [("kept", FLOAT, [1, "k", 4]), ("r2", FLOAT, [1, 8, 4, 4])], "nms", 4, ["boxes", "scores"],
    ),
    "threshold": (THRESHOLD, [("kept", FLOAT, ["k", 4])], "found", 3, ["above", "boxes"]),
    "loop": (LOOP, [("total", FLOAT, [1, 1]), BOXES], "loop", 1, ["scores"]),
    "picked example": (PICK, [("highest", FLOAT, [10]), BOXES], "pick", 3, ["scores"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "x.npz"
    np.savez(path, x=np.random.default_rng(1).normal(0, 1, (48, 3, 16, 16)).astype(np.float32))
    return path


def ratio(exact: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()))


def inner(path: Path, images: Path, wanted: str) -> np.ndarray:
    """A tensor of every example, by onnxruntime."""
    model = onnx.load(path)
    del model.graph.output[:]
    model.graph.output.append(helper.make_empty_tensor_value_info(wanted))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": each[None]})[0] for each in np.load(images)["x"]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_in_front_of_post_processing_gets_widths(kind: str, images: Path, tmp_path: Path) -> None:
    behind, outputs, first, count, read = KINDS[kind]
    source = detector(tmp_path / "source.onnx", behind, outputs)
    exported = mpq_onnx.export(source, tmp_path / "float.onnx")
    assert exported.network_takes_any
    by_example = kind in ("threshold", "loop")  # they give the same for several examples at once
    assert exported.fixed_batch == (None if by_example else 1)
    found = post_processing(load_model(tmp_path / "float.onnx"))
    assert found.nodes[0].name == first and len(found.nodes) == count
    result = mpq_onnx.allocate(
        tmp_path / "float.onnx", f"npz:{images}", tmp_path / "out", weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(effort="quick"),
    )  # fmt: skip
    assert any("post-processing stays as it is" in note and first in note for note in result.notes)
    assert {node.node for node in result.chosen.allocation.nodes}.isdisjoint(
        {str(node.name) for node in found.nodes}
    )
    comparison = result.chosen.evaluation.comparison
    assert comparison is not None
    parts = {part.part: part for part in comparison.parts}
    assert set(read) <= parts.keys()
    for name in {"boxes", "scores"} & parts.keys():
        assert parts[name].sqnr is not None and parts[name].sqnr.value > 25
    # Judged by onnxruntime: the file runs, and the network in it is the float one's but for its widths.
    session = ort.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    assert len(session.run(None, {"x": np.load(images)["x"][:1]})) == len(outputs)
    for name in {"boxes", "scores"} & set(read):
        exact, got = (inner(path, images, name) for path in (source, tmp_path / "out" / "model.onnx"))
        assert ratio(exact, got) > 25


@pytest.mark.parametrize("kind", ["kept boxes", "loop", "picked example"])
def test_noise_in_front_of_post_processing(kind: str, images: Path, tmp_path: Path) -> None:
    behind, outputs, *_ = KINDS[kind]
    mpq_onnx.export(detector(tmp_path / "source.onnx", behind, outputs), tmp_path / "float.onnx")
    result = mpq_onnx.allocate_energy(
        tmp_path / "float.onnx", f"npz:{images}", tmp_path / "out", energy_per_mac=100,
        options=mpq_onnx.EnergyOptions(("shot",), method="closed-form", repeats=1),
    )  # fmt: skip
    assert sum(node.macs for node in result.chosen.allocation.nodes) == MACS
    check = result.noise_check
    assert check.onnxruntime_sqnr == pytest.approx(check.mirror_sqnr, abs=1.5)
    evaluated = mpq_onnx.evaluate(
        tmp_path / "out" / "model.onnx", f"npz:{images}", baseline=tmp_path / "float.onnx", repeats=1
    )
    comparison = evaluated.evaluation.comparison
    assert comparison is not None and {"scores"} <= {part.part for part in comparison.parts if part.sqnr}


def test_other_verbs_take_such_a_network(images: Path, tmp_path: Path) -> None:
    data = f"npz:{images}"
    source = detector(tmp_path / "source.onnx", PICKED, KINDS["kept boxes"][1])
    model, out = tmp_path / "float.onnx", tmp_path / "out"
    said = run_inside("export", source, "-o", model)
    assert "batch size: 1 only; what comes before post-processing takes any" in said.stdout
    seen = json.loads(run_inside("inspect", model, "--json").stdout)
    assert not seen["unsupported"] and any("post-processing" in note for note in seen["notes"])
    done = run_inside(
        "allocate",
        model,
        "--data",
        data,
        "--weight-bits",
        4,
        "--activation-bits",
        8,
        "--effort",
        "quick",
        "-o",
        out,
    )
    assert done.returncode == 0, done.stderr
    applied = run_inside(
        "apply", model, out / "allocation.json", "--data", data, "-o", tmp_path / "again.onnx"
    )
    assert applied.returncode == 0, applied.stderr
    compared = run_inside("compare", model, out / "model.onnx", "--data", data)
    assert compared.returncode == 0 and "other shapes: kept (Gather)" in compared.stdout
    evaluated = json.loads(
        run_inside("evaluate", out / "model.onnx", "--data", data, "--baseline", model, "--json").stdout
    )
    kinds = {part["part"]: part["kind"] for part in evaluated["evaluation"]["comparison"]["parts"]}
    assert kinds == {"kept": "lengths", "boxes": "floats", "scores": "floats"}
    handed = run_inside(
        "handoff", out / "model.onnx", "--data", data, "--to", "json", "-o", tmp_path / "handed"
    )
    assert handed.returncode == 0, handed.stderr


def test_an_open_batch_stays_open(images: Path, tmp_path: Path) -> None:
    outputs: Outputs = [("selected", INT, ["k", 3])]
    exported = mpq_onnx.export(
        detector(tmp_path / "source.onnx", SUPPRESSION, outputs, "n"), tmp_path / "float.onnx"
    )
    assert exported.fixed_batch is None and exported.network_takes_any
    result = mpq_onnx.allocate(
        tmp_path / "float.onnx", f"npz:{images}", tmp_path / "out", weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(effort="quick"),
    )  # fmt: skip
    assert result.chosen.evaluation.comparison is not None


def test_products_behind_are_refused_by_name(images: Path, tmp_path: Path) -> None:
    """A second stage is a network, too."""
    second = (
        *PICKED,
        helper.make_node("Transpose", ["kept"], ["turned"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["kept", "turned"], ["z"], "second_stage"),
    )
    source = detector(tmp_path / "source.onnx", second, [("z", FLOAT, [1, "k", "k"])])
    refused = run_inside(
        "allocate", source, "--data", f"npz:{images}", "--weight-bits", 4, "-o", tmp_path / "out"
    )
    assert_one_line(refused, 3, "op NonMaxSuppression (domain ai.onnx) of node nms has no torch mirror")


def test_a_product_that_a_loop_alone_reads_has_a_width(images: Path, tmp_path: Path) -> None:
    model = onnx.load(detector(tmp_path / "source.onnx", LOOP, KINDS["loop"][1]))
    nodes = [node for node in model.graph.node if node.op_type != "Sigmoid"]
    reshape = next(node for node in nodes if node.name == "as_scores")
    reshape.input[0] = "cs"
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, tmp_path / "source.onnx")
    mpq_onnx.export(tmp_path / "source.onnx", tmp_path / "float.onnx")
    result = mpq_onnx.allocate(
        tmp_path / "float.onnx", f"npz:{images}", tmp_path / "out", weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(effort="quick"),
    )  # fmt: skip
    widths = {
        node.node: node.weight_bits for node in result.chosen.allocation.nodes if node.weight is not None
    }
    assert widths.keys() == {"conv1", "conv2", "box", "score"} and None not in widths.values()
