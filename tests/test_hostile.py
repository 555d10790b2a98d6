"""Hostile and odd input: one clear line and the right exit code, or a right answer; nothing lost, run or inflated."""

import contextlib
import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import initializer, make_cnn, make_model, weights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutated_document, mutated_model
from onnx import TensorProto, helper, numpy_helper
from test_cli import assert_one_line, run

import mpq_onnx
from mpq_onnx.graph.model_file import load_model

FAST = mpq_onnx.AllocateOptions(method="water-filling", rounding="nearest", bias_correction=False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, cnn_file: Path) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "float.onnx"
    mpq_onnx.export(str(cnn_file), path)
    return path


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def refused(call, *parts: str) -> str:
    """The one line that `call` is refused with, which has all `parts`."""
    with pytest.raises(mpq_onnx.MpqOnnxError) as refusal:
        call()
    message = str(refusal.value)
    assert message and "\n" not in message
    assert [part for part in parts if part not in message] == []
    assert refusal.value.exit_code in (2, 3)
    return message


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_pickle_is_run(exported: Path, tmp_path: Path) -> None:
    """Neither a state dict nor an npz may run code."""
    trap = tmp_path / "trap"
    torch.save({"weight": Payload(trap)}, tmp_path / "state.pt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Payload(trap)))
    for name in ("state.pt", "bare.pt"):
        refused(
            lambda name=name: mpq_onnx.export(
                "torchvision:resnet18", tmp_path / "out.onnx", weights=str(tmp_path / name)
            ),
            name,
        )
    np.savez(tmp_path / "data.npz", images=np.array([Payload(trap)], dtype=object))
    refused(lambda: mpq_onnx.evaluate(exported, f"npz:{tmp_path / 'data.npz'}"), "data.npz")
    assert not trap.exists() and not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize("location", ["../secret.bin", "sub/../../secret.bin", "{absolute}", "link.bin", ""])
def test_external_data_stays_in_the_models_folder(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\x00" * 4096)
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    model = make_cnn()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location.format(absolute=tmp_path / "secret.bin"))
    file = save(model, folder / "model.onnx")
    for verb in (lambda: mpq_onnx.card(file), lambda: mpq_onnx.export(str(file), tmp_path / "out.onnx")):
        refused(verb, "model.onnx")


def test_a_zip_bomb_is_not_unpacked(exported: Path, tmp_path: Path) -> None:
    zeros = np.zeros(2**20, np.uint8)
    header = io.BytesIO()
    np.lib.format.write_array_header_2_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (400 * 2**20,)}
    )
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w") as entry,
    ):
        entry.write(header.getvalue())
        for _ in range(400):
            entry.write(zeros)
    assert (tmp_path / "bomb.npz").stat().st_size < 500_000
    refused(lambda: mpq_onnx.evaluate(exported, f"npz:{tmp_path / 'bomb.npz'}"), "images.npy", "grows")


@pytest.mark.parametrize("dims", [[2**29], [2**20, 2**20], [2**62, 2]])
def test_a_tensor_cannot_claim_what_it_does_not_hold(dims: list[int], tmp_path: Path) -> None:
    model = make_cnn()
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    file = save(model, tmp_path / "claim.onnx")
    refused(lambda: mpq_onnx.export(str(file), tmp_path / "out.onnx"), "claim.onnx")


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand", "Tile", "Range"])
def test_constants_are_not_folded_beyond_memory(operator: str, tmp_path: Path) -> None:
    """A file of some bytes that would compute 32 GB of constants is still printed by card, and export ends in one line."""
    big = initializer("big", np.array([2**33] if operator != "Range" else 2**33, np.int64))
    inputs = {
        "ConstantOfShape": ["big"], "Expand": ["one", "big"], "Tile": ["one", "big"], "Range": ["zero", "big", "step"],
    }[operator]  # fmt: skip
    nodes = [
        helper.make_node(operator, inputs, ["grown"], "grow"),
        helper.make_node("Cast", ["grown"], ["cast"], "cast", to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["cast"], ["sum"], "sum", keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"], "add"),
    ]
    tensors = {"one": np.ones(1, np.float32), "zero": np.array(0, np.int64), "step": np.array(1, np.int64)}
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 2])], [("y", ["n", 2])], tensors)
    model.graph.initializer.append(big)
    file = save(model, tmp_path / "grow.onnx")
    limits = {
        "preexec_fn": lambda: __import__("resource").setrlimit(9, (12 * 2**30, 12 * 2**30))
    }  # 9: address space
    assert_one_line(run("export", file, "-o", tmp_path / "out.onnx", **limits), 3, "grow.onnx")


def broken(change) -> onnx.ModelProto:
    model = make_cnn()
    change(model.graph)
    return model


GRAPHS = {
    "cycle": lambda graph: graph.node[0].input.__setitem__(0, "a1"),
    "dangling": lambda graph: graph.node[3].input.__setitem__(0, "nowhere"),
    "duplicate tensor": lambda graph: graph.node[3].output.__setitem__(0, "c0"),
    "duplicate initializer": lambda graph: graph.initializer.append(graph.initializer[0]),
    "no nodes": lambda graph: graph.ClearField("node"),
    "no outputs": lambda graph: graph.ClearField("output"),
    "unknown operator": lambda graph: setattr(graph.node[2], "op_type", "Teleport"),
    "loop without a body": lambda graph: graph.node[2].CopyFrom(
        helper.make_node("Loop", ["", "", "b0"], ["r0"], "loop")
    ),
    "nothing to shape by": lambda graph: graph.node[2].CopyFrom(
        helper.make_node("ConstantOfShape", [], ["r0"], "constant")
    ),
    "einsum without an equation": lambda graph: graph.node[2].CopyFrom(
        helper.make_node("Einsum", ["b0", "fc.weight"], ["r0"], "einsum")
    ),
    "product of one": lambda graph: graph.node[11].CopyFrom(
        helper.make_node("MatMul", ["f"], ["logits"], "fc")
    ),
    "zero channels": lambda graph: graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.zeros((8, 0, 3, 3), np.float32), "stem.weight")
    ),
    "weight of another shape": lambda graph: graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.zeros((8, 5, 3, 3), np.float32), "stem.weight")
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_broken_graphs_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    file = save(broken(GRAPHS[name]), tmp_path / "broken.onnx")
    out = tmp_path / "out.onnx"
    out.write_bytes(b"kept")
    refused(lambda: mpq_onnx.export(str(file), out))
    assert out.read_bytes() == b"kept"
    assert {path.name for path in tmp_path.iterdir()} == {"broken.onnx", "out.onnx"}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("look", [mpq_onnx.card, mpq_onnx.inspect])
def test_broken_graphs_are_looked_at_or_refused(
    look: Callable[[Path], object], name: str, tmp_path: Path
) -> None:
    """Whatever is wrong with a file: a card says what can be read, or one line says why not."""
    with contextlib.suppress(mpq_onnx.MpqOnnxError):
        assert look(save(broken(GRAPHS[name]), tmp_path / "broken.onnx"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(value: float, image_file: Path, tmp_path: Path) -> None:
    model = make_cnn()
    array = numpy_helper.to_array(model.graph.initializer[5]).copy()
    array.flat[3] = value
    model.graph.initializer[5].CopyFrom(numpy_helper.from_array(array, "inner.weight"))
    file = save(model, tmp_path / "broken.onnx")
    refused(lambda: mpq_onnx.export(str(file), tmp_path / "out.onnx"), "inner.weight", "NaN or infinity")
    refused(
        lambda: mpq_onnx.allocate(
            file, f"npz:{image_file}?count=16", tmp_path / "out", weight_bits=4, options=FAST
        ),
        "inner.weight",
    )


def test_names_with_line_breaks_and_other_scripts_work(image_file: Path, tmp_path: Path) -> None:
    model = make_cnn()
    names = {
        "stem": "stem\nnode",
        "c1": '权重,"c1"',
        "inner": "ünner/\u202e",
        "inner.weight": "inner\tweight",
    }
    for node in model.graph.node:
        node.name = names.get(node.name, node.name)
        for values in (node.input, node.output):
            for index, value in enumerate(values):
                values[index] = names.get(value, value)
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    file = save(model, tmp_path / "names.onnx")
    mpq_onnx.export(str(file), tmp_path / "float.onnx")
    result = mpq_onnx.allocate(
        tmp_path / "float.onnx",
        f"npz:{image_file}?count=32",
        tmp_path / "out",
        weight_bits=4,
        activation_bits=6,
        options=FAST,
    )
    assert result.mirror_check.same_predictions == 1
    for target in ("csv", "json", "timeloop", "qonnx"):
        mpq_onnx.handoff(result.model_path, tmp_path / target, to=target)
    again = mpq_onnx.load_allocation(tmp_path / "out" / "allocation.json")
    assert {node.node for node in again.nodes} >= {"ünner/\u202e"} or {
        node.weight for node in again.nodes
    } >= {"inner\tweight"}
    message = refused(
        lambda: mpq_onnx.handoff(result.model_path, tmp_path / "trt", to="tensorrt"), "other than 8 bits"
    )
    assert "\u202e" not in message


def test_constant_channels_and_layers_of_zeros_are_quantized(image_file: Path, tmp_path: Path) -> None:
    model = make_cnn()
    for index, name in ((0, "stem.weight"), (5, "inner.weight")):
        array = numpy_helper.to_array(model.graph.initializer[index]).copy()
        array[...] = 0 if name == "inner.weight" else array
        array[2] = 0.25
        model.graph.initializer[index].CopyFrom(numpy_helper.from_array(array, name))
    file = save(model, tmp_path / "constant.onnx")
    mpq_onnx.export(str(file), tmp_path / "float.onnx")
    for granularity in ("layer", "channel"):
        options = mpq_onnx.AllocateOptions(
            method="water-filling", granularity=granularity, storage="packed", rounding_examples=32
        )
        result = mpq_onnx.allocate(
            tmp_path / "float.onnx", f"npz:{image_file}?count=64", tmp_path / granularity,
            weight_bits=3, activation_bits=6, options=options,
        )  # fmt: skip
        found = mpq_onnx.evaluate(
            result.model_path, f"npz:{image_file}", baseline=tmp_path / "float.onnx"
        ).evaluation
        assert found.comparison is not None and found.comparison.output_sqnr > 5


def test_empty_and_open_shapes(exported: Path, image_file: Path, tmp_path: Path) -> None:
    np.savez(
        tmp_path / "empty.npz", images=np.zeros((0, 3, 12, 12), np.float32), labels=np.zeros(0, np.int64)
    )
    refused(lambda: mpq_onnx.evaluate(exported, f"npz:{tmp_path / 'empty.npz'}"), "empty.npz")
    model = make_cnn()
    for value in [*model.graph.input, *model.graph.output]:
        for index, dimension in enumerate(value.type.tensor_type.shape.dim):
            dimension.Clear()
            dimension.dim_param = f"any{index}"
    file = save(model, tmp_path / "open.onnx")
    refused(
        lambda: mpq_onnx.export(str(file), tmp_path / "out.onnx", check="random?count=2"),
        "open axes",
        "size=",
    )
    refused(
        lambda: mpq_onnx.export(str(file), tmp_path / "out.onnx", check="random?count=2&size=12")
    )  # 12 channels
    data = f"npz:{image_file}?count=32"
    mpq_onnx.export(str(file), tmp_path / "out.onnx", check=data)
    result = mpq_onnx.allocate(
        tmp_path / "out.onnx", data, tmp_path / "out", weight_bits=4, activation_bits=6, options=FAST
    )
    assert result.mirror_check.same_predictions == 1


@pytest.mark.parametrize("opset", [24, 26])
def test_newer_opsets_are_brought_down(opset: int, tmp_path: Path) -> None:
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip(f"this onnx ends at opset {onnx.defs.onnx_opset_version()}")
    model = onnx.version_converter.convert_version(make_cnn(opset=13), opset)
    model.ir_version = 10
    file = save(model, tmp_path / "new.onnx")
    result = mpq_onnx.export(str(file), tmp_path / "out.onnx")
    assert result.largest_difference < 1e-4
    assert load_model(tmp_path / "out.onnx").opset_imports[""] == 21


@given(number=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_broken_models_end_well_or_in_one_line(
    number: int, cnn_file: Path, exported: Path, tmp_path: Path
) -> None:
    """Forty of the inputs of benchmarks/fuzz.py."""
    rng = random.Random(number)
    source = rng.choice([cnn_file, exported])
    file = tmp_path / "broken.onnx"
    file.write_bytes(mutated_model(source.read_bytes(), rng))
    out = tmp_path / "out.onnx"
    out.write_bytes(b"kept")
    try:
        rng.choice([lambda: mpq_onnx.export(str(file), out), lambda: mpq_onnx.card(file)])()
    except mpq_onnx.MpqOnnxError as error:
        assert "\n" not in str(error)
        assert out.read_bytes() == b"kept"
    assert {path.name for path in tmp_path.iterdir()} == {"broken.onnx", "out.onnx"}


@pytest.fixture(scope="module")
def allocated(tmp_path_factory: pytest.TempPathFactory, exported: Path, image_file: Path) -> Path:
    folder = tmp_path_factory.mktemp("allocated")
    mpq_onnx.allocate(
        exported, f"npz:{image_file}?count=32", folder, weight_bits=4, activation_bits=6, options=FAST
    )
    return folder


@given(number=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_broken_allocations_end_well_or_in_one_line(
    number: int, allocated: Path, exported: Path, tmp_path: Path
) -> None:
    rng = random.Random(number)
    file = tmp_path / "allocation.json"
    file.write_text(mutated_document((allocated / "allocation.json").read_text(), rng), "utf-8", "replace")
    out = tmp_path / "out.onnx"
    out.write_bytes(b"kept")
    try:
        mpq_onnx.apply(exported, file, out, calibration=allocated / "calibration.json")
    except mpq_onnx.MpqOnnxError as error:
        assert "\n" not in str(error)
        assert out.read_bytes() == b"kept"


@pytest.mark.slow
def test_a_model_over_two_gigabytes(tmp_path: Path) -> None:
    """Read, converted to another opset, written and evaluated with external data."""
    rng = np.random.default_rng(0)
    tensors = {
        f"l{i}.weight": weights(rng, 12_000, 12_000) if i else weights(rng, 12_000, 64) for i in range(5)
    }
    nodes = [
        helper.make_node("Gemm", [f"h{i}" if i else "x", f"l{i}.weight"], [f"g{i}"], f"l{i}", transB=1)
        for i in range(5)
    ]
    nodes += [helper.make_node("Relu", [f"g{i}"], [f"h{i + 1}"], f"r{i}") for i in range(4)]
    nodes = [each for i in range(5) for each in (nodes[i], *nodes[5 + i : 6 + i])]
    model = make_model(nodes, [("x", TensorProto.FLOAT, ["n", 64])], [("g4", ["n", 12_000])], {})
    for name, array in tensors.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, tmp_path / "big.onnx", save_as_external_data=True, location="big.bin")
    del model, tensors
    assert (tmp_path / "big.bin").stat().st_size > 2**31
    result = run("export", tmp_path / "big.onnx", "-o", tmp_path / "float.onnx", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["bytes"] > 2**31 and [*tmp_path.glob("float.onnx.*.data")]
    found = run(
        "evaluate",
        tmp_path / "float.onnx",
        "--data",
        "random?count=8",
        "--baseline",
        tmp_path / "big.onnx",
        "--json",
    )
    assert found.returncode == 0, found.stderr
    assert float(json.loads(found.stdout)["evaluation"]["comparison"]["output_sqnr"]) > 60
    assert json.loads(run("card", tmp_path / "float.onnx", "--json").stdout)["model"]["bytes"] > 2**31
