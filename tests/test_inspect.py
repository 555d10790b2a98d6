"""inspect: what a model is, before any data; and how fast the commands that need no torch start."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.graph.mirrored import MIRRORED
from mpq_onnx.mirror.ops import OP_TABLE


def test_what_the_mirror_knows_is_said_without_it() -> None:
    assert OP_TABLE.keys() == MIRRORED


def test_a_float_model(cnn_file: Path) -> None:
    found = mpq_onnx.inspect(cnn_file)
    (image,), (logits,) = found.inputs, found.outputs
    assert (image.name, image.type, image.shape, image.example_axis, image.role) == (
        "images", "float", ("n", 3, 12, 12), 0, "signal",
    )  # fmt: skip
    assert logits.shape == ("n", 6) and not found.quantized and found.format == "float"
    by_node = {each.node: each for each in found.layers}
    assert list(by_node) == ["stem", "inner", "depthwise", "fc"]
    assert by_node["stem"].elements == 8 * 27 and by_node["stem"].macs == 8 * 27 * 144
    assert by_node["depthwise"].macs == 72 * 36 and by_node["fc"].bits == (2, 8)
    assert found.weights == 216 + 576 + 72 + 48 and found.macs == sum(each.macs for each in found.layers)
    assert found.weight_bytes == (found.weights / 4, found.weights) and found.mean_weight_bits == (2, 8)
    assert found.unsupported == {} and found.uncounted == found.stays_float == ()


def test_it_agrees_with_what_allocate_finds(encoder_file: Path, tmp_path: Path) -> None:
    options = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", bias_correction=False)
    result = mpq_onnx.allocate(
        encoder_file, "random?count=16", tmp_path / "out", weight_bits=4, activation_bits=8, options=options
    )
    nodes = result.chosen.allocation.nodes
    found = mpq_onnx.inspect(encoder_file)
    assert found.weights == sum(node.weight_elements for node in nodes)
    assert found.macs == sum(node.macs for node in nodes)
    assert found.activations == sum(node.activation is not None for node in nodes)
    (table,) = (each for each in found.layers if each.op_type == "Gather")
    assert table.bits == 8 and table.why == "a table, outside the budget"
    assert sum(each.weight is None for each in found.layers) == 2  # attention
    assert found.inputs[0].role == "index"
    quantized = mpq_onnx.inspect(result.model_path)
    assert quantized.quantized and "QDQ" in quantized.format and quantized.mean_weight_bits == 8
    assert any("give the float model" in note for note in quantized.notes)
    assert quantized.activations


def test_what_is_not_supported_stays_float_or_has_open_lengths(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], "first"),
        helper.make_node("Bernoulli", ["y"], ["d"], "coins"),
        helper.make_node("MatMul", ["d", "w"], ["z"], "second"),
    ]
    path = tmp_path / "a model.onnx"
    tensors = {"w": weights(rng, 3, 3)}
    onnx.save(make_model(nodes, [("x", TensorProto.FLOAT, ["n", 3, 3])], [("z", ["n", 3, 3])], tensors), path)
    said = run_inside("inspect", path)
    assert said.returncode == 0 and "unsupported: Bernoulli, node coins: allocate refuses" in said.stdout
    opened = tmp_path / "open.onnx"
    onnx.save(
        make_model(
            nodes[:1],
            [("x", TensorProto.FLOAT, ["n", "time", 3])],
            [("y", ["n", "time", 3])],
            tensors,
        ),
        opened,
    )
    found = json.loads(run_inside("inspect", opened, "--json").stdout)
    assert found["macs"] is None and "open axes of input x" in found["notes"][0] and found["weights"] == 9
    assert found["inputs"][0]["shape"] == ["n", "time", 3]


def test_widths_to_choose_from_hang_on_no_shape(tmp_path: Path) -> None:
    """The shape of what MaxUnpool makes is computed."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "first", pads=[1] * 4),
        helper.make_node("MaxPool", ["a"], ["p", "places"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Shape", ["a"], ["shape"], "shape"),
        helper.make_node(
            "MaxUnpool", ["p", "places", "shape"], ["u"], "unpool", kernel_shape=[2, 2], strides=[2, 2]
        ),
        helper.make_node("Conv", ["u", "w2"], ["y"], "last", pads=[1] * 4),
    ]
    path, tensors = tmp_path / "m.onnx", {"w1": weights(rng, 4, 3, 3, 3), "w2": weights(rng, 3, 4, 3, 3)}
    onnx.save(
        make_model(nodes, [("x", TensorProto.FLOAT, ["n", 3, 8, 8])], [("y", ["n", 3, 8, 8])], tensors), path
    )
    found = mpq_onnx.inspect(path)
    assert [(each.node, each.bits, each.macs) for each in found.layers] == [
        ("first", (2, 8), None),
        ("last", (2, 8), None),
    ]
    assert found.macs is found.activations is None and found.weight_bytes == (216 / 4, 216)
    assert "MACs unknown" in run_inside("inspect", path).stdout


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "half.onnx").write_bytes(b"\x08\x07no model")
    assert_one_line(run_inside("inspect", tmp_path / "half.onnx"), 3, "half.onnx")
    assert_one_line(run_inside("inspect", tmp_path / "absent.onnx"), 3, "no such file")


def test_a_word_that_no_model_has_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    from mpq_onnx.runs import listing

    monkeypatch.setattr(listing, "named_models", lambda: {"zoo": ["resnet", "vgg"], "other": []})
    found = run_inside("models", "RES")
    assert found.returncode == 0 and found.stdout == "zoo: resnet\n"
    missed = run_inside("models", "nosuch")
    assert_one_line(missed, 1, "nosuch")
    assert missed.stdout == "" and json.loads(run_inside("models", "nosuch", "--json").stdout) == {
        "zoo": [], "other": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], ("numpy", "onnx", "tqdm", "yaml", "mpq_onnx.registries")),
        (
            ["card", "MODEL"],
            ("torch", "onnxruntime", "matplotlib", "scipy", "onnxscript", "tqdm", "sklearn", "PIL"),
        ),
        (["inspect", "MODEL"], ("torch", "onnxruntime", "matplotlib", "scipy", "tqdm", "sklearn", "PIL")),
        (
            ["evaluate", "MODEL", "--data", "random?count=8"],
            ("torch", "matplotlib", "scipy", "onnxscript", "sklearn"),
        ),
    ],
)
def test_commands_load_what_they_need(
    arguments: list[str], unwanted: tuple[str, ...], cnn_file: Path
) -> None:
    """What starting takes is imports: 0.2, 1 and 1.5 s on an idle machine are kept by what is not among them."""
    given = [str(cnn_file) if each == "MODEL" else each for each in arguments]
    code = (
        f"import sys\nfrom mpq_onnx.cli import cli\ntry: cli.main({given!r}, standalone_mode=False)\n"
        f"finally: print(*(name for name in {unwanted!r} if name in sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr.strip() == "", done.stderr
