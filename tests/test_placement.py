"""What gets a quantizer: signals do, bookkeeping does not; embedding tables have a width of their own."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import make_model, weights
from onnx import TensorProto, helper

import mpq_onnx
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.graph.placement import find_sites
from mpq_onnx.graph.placement.sites import Sites
from mpq_onnx.runs.preparation import load_float_model
from mpq_onnx.runtime.tensors import tensor_shapes

TOKENS, WIDTH, VOCABULARY = 6, 8, 11


def masked_attention(style: str) -> onnx.ModelProto:
    """Embedding, one head of masked attention, a classifier; the mask added or selected, as exporters write it."""
    rng = np.random.default_rng(0)
    tensors = {
        "table": weights(rng, VOCABULARY, WIDTH),
        "wq": weights(rng, WIDTH, WIDTH), "wk": weights(rng, WIDTH, WIDTH), "wc": weights(rng, WIDTH, 3) * 3,
        "one": np.array(1, np.float32), "never": np.array(np.finfo(np.float32).min, np.float32),
        "zero": np.array(0, np.int64), "axes": np.array([1], np.int64), "middle": np.array([1], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "embedding"),
        helper.make_node("MatMul", ["e", "wq"], ["q"], "query"),
        helper.make_node("MatMul", ["e", "wk"], ["k"], "key"),
        helper.make_node("Transpose", ["k"], ["kt"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"], "scores"),
        helper.make_node("Unsqueeze", ["mask", "middle"], ["mask3"], "unsqueeze"),
    ]
    if style == "add":
        nodes += [
            helper.make_node("Cast", ["mask3"], ["kept"], "cast", to=TensorProto.FLOAT),
            helper.make_node("Sub", ["one", "kept"], ["dropped"], "invert"),
            helper.make_node("Mul", ["dropped", "never"], ["penalty"], "penalty"),
            helper.make_node("Add", ["scores", "penalty"], ["masked"], "lay_mask"),
        ]
    else:
        nodes += [
            helper.make_node("Equal", ["mask3", "zero"], ["absent"], "absent"),
            helper.make_node("Where", ["absent", "never", "scores"], ["masked"], "lay_mask"),
        ]
    nodes += [
        helper.make_node("Softmax", ["masked"], ["attention"], "softmax", axis=-1),
        helper.make_node("MatMul", ["attention", "e"], ["mixed"], "mix"),
        helper.make_node("ReduceMean", ["mixed", "axes"], ["pooled"], "pool", keepdims=0),
        helper.make_node("MatMul", ["pooled", "wc"], ["logits"], "classifier"),
    ]
    integers = [(name, TensorProto.INT64, ["n", TOKENS]) for name in ("ids", "mask")]
    return make_model(nodes, integers, [("logits", ["n", 3])], tensors, opset=20)


@pytest.fixture(params=["add", "where"])
def attention(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A model, and data whose masks hide the last tokens."""
    path, data = tmp_path / "attention.onnx", tmp_path / "tokens.npz"
    onnx.save(masked_attention(request.param), path)
    rng = np.random.default_rng(1)
    ids = rng.integers(0, VOCABULARY, (128, TOKENS))
    mask = (np.arange(TOKENS) < rng.integers(2, TOKENS + 1, (128, 1))).astype(np.int64)
    np.savez(data, ids=ids, mask=mask)
    return path, f"npz:{data}"


def sites_of(path: Path, spec: str, **options) -> Sites:
    base = load_float_model(path)
    shapes = tensor_shapes(base.model, base.open_data(spec), "cpu")
    return find_sites(base.model, shapes, **options)


def test_masks_stay_exact_and_scores_do_not(attention: tuple[Path, str]) -> None:
    sites = sites_of(*attention)
    found = {site.node for site in sites.activations}
    assert found == {"embedding", "query", "key", "scores", "softmax", "mix", "pool", "classifier"}


def test_quantized_attention_survives_its_mask(attention: tuple[Path, str], tmp_path: Path) -> None:
    result = mpq_onnx.allocate(
        *attention, tmp_path / "out", weight_bits=8, activation_bits=8,
        options=mpq_onnx.AllocateOptions(method="uniform", rounding="nearest"),
    )  # fmt: skip
    comparison = result.chosen.evaluation.comparison
    assert comparison is not None and comparison.output_sqnr > 25
    assert result.mirror_check.unoptimized_sqnr > 40


def test_embedding_tables_have_their_own_width(attention: tuple[Path, str], tmp_path: Path) -> None:
    (table,) = [site for site in sites_of(*attention).weights if site.fixed_bits is not None]
    assert (table.tensor, table.fixed_bits, table.shape) == ("table", 8, (VOCABULARY, WIDTH))
    assert table.is_table and [use.macs for use in table.uses] == [0]
    options = mpq_onnx.AllocateOptions(method="uniform", rounding="nearest", bias_correction=False)
    stored = {}
    for bits in (0, 8):
        folder = tmp_path / str(bits)
        mpq_onnx.allocate(
            *attention, folder, weight_bits=4, activation_bits=8,
            options=dataclasses.replace(options, embedding_bits=bits),
        )  # fmt: skip
        allocation = Allocation.load(folder / "allocation.json")
        (entry,) = [node for node in allocation.nodes if node.weight == "table"]
        assert entry.weight_bits == (bits or None) and not entry.weight_counted
        assert allocation.mean_weight_bits == 4
        graph = onnx.load(folder / "model.onnx").graph
        stored[bits] = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert stored[0]["table"] == TensorProto.FLOAT
    assert "table" not in stored[8]
    (kind,) = [
        kind for name, kind in stored[8].items() if name in ("table_quantized", "table_quantized_levels")
    ]
    assert kind in (TensorProto.INT8, TensorProto.UINT8)


def test_a_table_that_classifies_too_has_the_classifiers_width(tmp_path: Path) -> None:
    tensors = {"table": weights(np.random.default_rng(0), VOCABULARY, WIDTH), "axes": np.array([1], np.int64)}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], "embedding"),
        helper.make_node("ReduceMean", ["e", "axes"], ["m"], "mean", keepdims=0),
        helper.make_node("Gemm", ["m", "table"], ["logits"], "tied", transB=1),
    ]
    path = tmp_path / "tied.onnx"
    onnx.save(
        make_model(
            nodes, [("ids", TensorProto.INT64, ["n", TOKENS])], [("logits", ["n", VOCABULARY])], tensors, 20
        ),
        path,
    )
    (site,) = sites_of(path, "random?count=4").weights
    assert (site.tensor, site.op_type, site.fixed_bits) == ("table", "Gemm", None)
