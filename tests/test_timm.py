"""timm:NAME as a source, where timm is installed; one line where it is not."""

import sys
from pathlib import Path

import pytest
from test_cli import assert_one_line, run_inside

import mpq_onnx


def test_without_timm_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert_one_line(run_inside("export", "timm:resnet18", "-o", tmp_path / "m.onnx"), 2, "pip install timm")
    assert mpq_onnx.models("resnet18")["timm"] == []


def test_a_network_of_timm_with_its_own_preprocessing(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    path = tmp_path / "model.onnx"
    result = mpq_onnx.export("timm:test_resnet", path)  # a few layers, for such tests
    module = timm.create_model("test_resnet", pretrained=False)
    wanted = timm.data.resolve_model_data_config(module)
    options = result.metadata["mpq_onnx.preprocessing"]
    assert f"crop={wanted['input_size'][1]}" in options and f"mean={wanted['mean'][0]}" in options
    assert result.metadata["mpq_onnx.task"] == "image-classification" and result.fixed_batch is None
    assert result.largest_difference < 1e-3 and mpq_onnx.inspect(path).unsupported == {}
    assert "test_resnet" in mpq_onnx.models("test_resnet")["timm"]
    assert_one_line(
        run_inside("export", "timm:nosuch", "-o", path), 3, "timm:nosuch", "no model of this name"
    )
    assert_one_line(run_inside("export", "timm:test_resnet.nosuch", "-o", path), 3, "timm:test_resnet.nosuch")
