"""Forms in which other tools write files, wherever such a file is read, and what data and batches they do not take."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_cnn
from onnx import helper
from test_cli import run_inside

import mpq_onnx

DATA = "random?count=8"


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
