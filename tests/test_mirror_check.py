"""What stands for outputs in training, and the check that ends a command where onnxruntime and the mirror part."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper
from test_cli import assert_one_line, run_inside

import mpq_onnx.runs.allocating_energy as allocating_energy
import mpq_onnx.runs.width_bench as width_bench
from mpq_onnx.graph.differentiable_outputs import differentiable_outputs

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
FAST = ("--method", "uniform", "--rounding", "nearest", "--no-bias-correction")


def heads(
    *nodes: onnx.NodeProto, outputs: list[tuple[str, int, list]], **more: np.ndarray
) -> onnx.ModelProto:
    """A network of one layer, x -> h of 3 numbers, with `nodes` behind it."""
    rng = np.random.default_rng(0)
    tensors = {"w": weights(rng, 4, 3), "v": weights(rng, 3, 3), **more}
    model = make_model(
        [helper.make_node("MatMul", ["x", "w"], ["h"], "fc"), *nodes],
        [("x", FLOAT, ["n", 4])], [(name, shape) for name, _, shape in outputs], tensors,
    )  # fmt: skip
    for value, (_, kind, _) in zip(model.graph.output, outputs, strict=True):
        value.type.tensor_type.elem_type = kind
    return model


def make(op_type: str, inputs: str, outputs: str, **attributes) -> onnx.NodeProto:
    return helper.make_node(
        op_type, inputs.split(), outputs.split(), f"{op_type}_{outputs.split()[0]}", **attributes
    )


CASES = {
    "argmax": (heads(make("ArgMax", "h", "y", axis=1), outputs=[("y", INT64, ["n", 1])]), ("h",)),
    "through casts": (
        heads(
            make("ArgMax", "h", "i", axis=1), make("Cast", "i", "f", to=FLOAT), make("Mul", "f half", "y"),
            outputs=[("y", FLOAT, ["n", 1])], half=np.array(0.5, np.float32),
        ),
        ("h",),
    ),
    "top-k beside its scores": (
        heads(
            make("Softmax", "h", "p"), make("TopK", "p k", "best index"),
            outputs=[("best", FLOAT, ["n", 2]), ("index", INT64, ["n", 2])], k=np.array([2], np.int64),
        ),
        ("best",),
    ),
    "indices alone": (
        heads(
            make("Softmax", "h", "p"), make("TopK", "p k", "best index"), outputs=[("index", INT64, ["n", 2])],
            k=np.array([2], np.int64),
        ),
        ("p",),
    ),
    "another branch's labels count": (
        heads(
            make("MatMul", "h v", "g"), make("ArgMax", "g", "y", axis=1),
            outputs=[("h", FLOAT, ["n", 3]), ("y", INT64, ["n", 1])],
        ),
        ("h", "g"),
    ),
    "a mask": (
        heads(
            make("Sigmoid", "h", "p"), make("Greater", "p half", "m"), make("Not", "m", "y"),
            outputs=[("y", BOOL, ["n", 3])], half=np.array(0.5, np.float32),
        ),
        ("p",),
    ),
    "a constant beside": (
        heads(
            make("Identity", "h", "y"), make("Identity", "c", "anchors"),
            outputs=[("y", FLOAT, ["n", 3]), ("anchors", FLOAT, [2])], c=np.ones(2, np.float32),
        ),
        ("y",),
    ),
    "a palette": (
        heads(
            make("ArgMax", "h", "i", axis=1, keepdims=0), make("Gather", "palette i", "y"),
            outputs=[("y", FLOAT, ["n", 2])], palette=np.eye(3, 2, dtype=np.float32),
        ),
        ("h",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_floats_behind_labels(name: str) -> None:
    model, wanted = CASES[name]
    onnx.checker.check_model(model, full_check=True)
    assert differentiable_outputs(ir.from_proto(model)) == wanted


def test_indices_that_are_cast_from_an_input_are_no_labels() -> None:
    """Keras exports feed indices as floats."""
    rng = np.random.default_rng(0)
    nodes = [
        make("Cast", "x", "i", to=INT64), make("Gather", "table i", "e"), make("ReduceMean", "e", "y", axes=[1], keepdims=0),
    ]  # fmt: skip
    model = make_model(nodes, [("x", FLOAT, ["n", 5])], [("y", ["n", 3])], {"table": weights(rng, 9, 3)})
    assert differentiable_outputs(ir.from_proto(model)) == ("y",)


@pytest.mark.parametrize("name", ["argmax", "a mask", "another branch's labels count", "a constant beside"])
def test_models_of_labels_are_allocated_and_measured(name: str, tmp_path: Path) -> None:
    onnx.save(CASES[name][0], tmp_path / "model.onnx")
    found = run_inside(
        "allocate", tmp_path / "model.onnx", "--data", "random?count=64", "--weight-bits", 3, "--activation-bits", 8,
        "-o", tmp_path / "out", "--method", "water-filling", "--rounding-examples", 16,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    again = run_inside(
        "evaluate", tmp_path / "out/model.onnx", "--data", "random?count=32", "--baseline", tmp_path / "model.onnx",
        *(("--min", "agreement=0.5") if "constant" not in name else ("--min", "sqnr=5")),
    )  # fmt: skip
    assert again.returncode == 0, again.stderr


def test_labels_under_noise(tmp_path: Path) -> None:
    onnx.save(CASES["argmax"][0], tmp_path / "model.onnx")
    found = run_inside(
        "allocate", tmp_path / "model.onnx", "--data", "random?count=32", "--noise", "shot", "--energy-per-mac", 20,
        "-o", tmp_path / "out", "--method", "closed-form", "--repeats", 2,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "agreement" in found.stdout


@pytest.mark.parametrize(
    ("constant", "factor", "place"),
    [
        ("r0_scale", 1.02, "the quantizer of r0"),
        ("inner.weight_scale", 1.02, "node inner (Conv)"),
        ("fc_bias_quantized", 3, "node fc (Gemm)"),
    ],
)
def test_a_file_that_parts_from_its_mirror_ends_the_command(
    constant: str, factor: float, place: str, tmp_path: Path, cnn_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = width_bench.write_graph

    def corrupted(*arguments):
        graph = written(*arguments)
        value = graph.graph.initializers[constant]
        array = value.const_value.numpy()
        value.const_value = ir.tensor((array * factor).astype(array.dtype), name=constant)
        return graph

    monkeypatch.setattr(width_bench, "write_graph", corrupted)
    found = run_inside(
        "allocate", cnn_file, "--data", "random?count=32", "--weight-bits", 8, "--activation-bits", 8,
        "-o", tmp_path / "out", *FAST,
    )  # fmt: skip
    assert_one_line(found, 3, "part at", place)
    assert not (tmp_path / "out").exists()


def test_noise_that_is_not_the_mirrors_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(CASES["a constant beside"][0], tmp_path / "model.onnx")
    measured = allocating_energy.measure_ratios

    def louder(*arguments):
        found = measured(*arguments)
        powers = tuple(2 * power for power in found.output_noises)
        return dataclasses.replace(found, outputs=found.outputs - 3, output_noises=powers)

    def allocate(folder: str):
        return run_inside(
            "allocate", tmp_path / "model.onnx", "--data", "random?count=32", "--noise", "shot", "--energy-per-mac", 20,
            "-o", tmp_path / folder, "--method", "uniform", "--repeats", 1,
        )  # fmt: skip

    assert allocate("right").returncode == 0
    monkeypatch.setattr(allocating_energy, "measure_ratios", louder)
    assert_one_line(allocate("wrong"), 3, "noisy graph fails its check", "dB")
    assert not (tmp_path / "wrong").exists()
