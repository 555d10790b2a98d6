"""What onnxruntime's optimizers make of a network costs and quantizes like it; what has no way back is refused by name."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from conftest import make_model, weights
from onnx import TensorProto, helper, numpy_helper

import mpq_onnx
from mpq_onnx.errors import ModelError
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.runs.options import AllocateOptions

DOMAIN = "com.microsoft"
TOKENS, WORDS = 12, 100
TEXT = ("input_ids", "attention_mask", "token_type_ids")
NEAR = 3.0
"""Decibels."""
EXTENDED = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
RNG = np.random.default_rng(0)


def optimized(source: Path, level: Any) -> Path:
    """The file that a session of onnxruntime writes."""
    path = source.with_name(f"{source.stem}_optimized.onnx")
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return path


def domains(path: Path) -> set[str]:
    return {node.domain for node in onnx.load(path).graph.node}


def write(
    network: torch.nn.Module,
    inputs: tuple[torch.Tensor, ...],
    names: dict[str, list[str]],
    path: Path,
    opset: int,
) -> None:
    """By torch's exporter of TorchScript; `names` are the inputs' with those of their open axes."""
    axes = {name: dict(enumerate(each)) for name, each in names.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), inputs, path, input_names=list(names), output_names=["y"],
            dynamic_axes=axes | {"y": {0: "batch"}}, opset_version=opset, dynamo=False,
        )  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((17, "gelu"), id="17"),
        pytest.param((14, "gelu_new"), id="14", marks=pytest.mark.slow),
        pytest.param((11, "gelu"), id="11", marks=pytest.mark.slow),
    ],
)
def bert(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of BERT, biases and gains drawn as well."""
    transformers = pytest.importorskip("transformers")
    opset, activation = request.param
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=32, num_labels=3, hidden_act=activation, attn_implementation="eager",
    )  # fmt: skip
    network = transformers.BertForSequenceClassification(config)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    tokens = torch.randint(0, WORDS, (2, TOKENS))
    inputs = (tokens, torch.ones_like(tokens), torch.zeros_like(tokens))
    names = {name: ["batch", "tokens"] for name in TEXT}
    path = tmp_path_factory.mktemp("bert") / "bert.onnx"
    write(network, inputs, names, path, opset)
    return path


def by_transformer_optimizer(source: Path) -> Path:
    """What onnxruntime.transformers.optimizer writes."""
    optimizer = pytest.importorskip("onnxruntime.transformers.optimizer")
    path = source.with_name("transformer.onnx")
    found = optimizer.optimize_model(
        str(source), model_type="bert", num_heads=2, hidden_size=32, opt_level=0, use_gpu=False
    )
    found.save_model_to_file(str(path))
    return path


class Residual(torch.nn.Module):
    """Conv, BatchNormalization, Relu, a residual Add, a LeakyRelu."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8)
        self.inner, self.inner_norm = torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.BatchNorm2d(8)
        self.last, self.classes = torch.nn.Conv2d(8, 16, 3, stride=2), torch.nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem_norm(self.stem(x)))
        x = torch.relu(x + self.inner_norm(self.inner(x)))
        x = torch.nn.functional.leaky_relu(self.last(x), 0.1)
        return self.classes(x.mean((2, 3)))


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = Residual()
    network(torch.randn(32, 3, 16, 16))
    path = tmp_path_factory.mktemp("residual") / "residual.onnx"
    write(network, (torch.randn(2, 3, 16, 16),), {"x": ["batch"]}, path, 17)
    return path


def allocated(source: Path, data: str) -> tuple[Any, float]:
    """The allocation of a file that is exported first, and the SQNR of its output."""
    path = source.with_suffix(".canonical.onnx")
    mpq_onnx.export(source, path)
    assert domains(path) <= {"", "mpq_onnx.composite"}
    assert not mpq_onnx.inspect(path).uncounted
    result = mpq_onnx.allocate(
        path,
        data,
        source.parent / f"{source.stem}_out",
        weight_bits=8,
        activation_bits=8,
        options=AllocateOptions(effort="quick"),
    )
    assert not [note for note in result.notes if "32 bits" in note]
    return result.chosen.allocation, result.chosen.evaluation.comparison.output_sqnr


def check_alike(source: Path, others: list[Path], data: str) -> None:
    """Equal products, means and BOPs; nearly equal results."""
    plain, sqnr = allocated(source, data)
    for path in others:
        assert DOMAIN in domains(path)
        found, other_sqnr = allocated(path, data)
        products = [
            sorted((node.macs, node.op_type) for node in each.nodes if node.macs) for each in (plain, found)
        ]
        assert products[0] == products[1]
        for name in ("mean_weight_bits", "bit_operations"):
            assert getattr(found, name) == pytest.approx(getattr(plain, name), rel=1e-9)
        assert found.mean_activation_bits == pytest.approx(plain.mean_activation_bits, abs=0.02)
        floats = [
            sorted(node.macs for node in each.nodes if node.macs and node.weight_bits is None)
            for each in (plain, found)
        ]
        assert floats[0] == floats[1]
        assert other_sqnr == pytest.approx(sqnr, abs=NEAR)


def padded_text(path: Path) -> str:
    """Sentences of any length, padded on the right: the one kind of mask that BERT's optimizer leaves the meaning of."""
    lengths = RNG.integers(3, TOKENS + 1, (128, 1))
    mask = (np.arange(TOKENS) < lengths).astype(np.int64)
    tokens, kinds = (RNG.integers(0, top, mask.shape) for top in (WORDS, 2))
    np.savez(path, **dict(zip(TEXT, (tokens, mask, kinds), strict=True)))
    return str(path)


def test_bert(bert: Path) -> None:
    others = [optimized(bert, EXTENDED), by_transformer_optimizer(bert)]
    check_alike(bert, others, padded_text(bert.with_name("text.npz")))


def test_residual_network(residual: Path) -> None:
    others = [optimized(residual, EXTENDED)]
    assert "FusedConv" in {node.op_type for node in onnx.load(others[0]).graph.node}
    check_alike(residual, others, "random?count=64")


def test_a_file_laid_out_for_a_processor_is_refused(residual: Path, tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["c"], "blocked", domain="com.microsoft.nchwc", pads=[1] * 4)
    back = helper.make_node("ReorderOutput", ["c"], ["y"], "back", domain="com.microsoft.nchwc", channels=8)
    tensors = {"w": weights(RNG, 8, 8, 3, 3)}
    model = make_model(
        [node, back], [("x", TensorProto.FLOAT, ["n", 8, 8, 8])], [("y", ["n", 8, 8, 8])], tensors
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft.nchwc", 1))
    path = tmp_path / "blocked.onnx"
    onnx.save(model, path)
    with pytest.raises(
        ModelError, match=r"blocked: Conv of com.microsoft.nchwc: .*ORT_ENABLE_EXTENDED"
    ) as error:
        mpq_onnx.export(path, tmp_path / "float.onnx", check="random?count=2")
    assert "\n" not in str(error.value)
    assert "blocked" in mpq_onnx.card(path)["weights"]["not counted"]


CACHE = "give the file from before onnxruntime's optimizer"
REFUSED: dict[str, tuple[str, list[str], list[str], dict[str, Any], str]] = {
    "grouped": ("GroupQueryAttention", ["x", "x", "x", "", "", "ends", "total"], ["y"],
                {"num_heads": 2, "kv_num_heads": 2}, f"GroupQueryAttention.*cache.*{CACHE}"),
    "past": ("Attention", ["x", "w", "b", "", "past"], ["y", "present"], {"num_heads": 2}, f"Attention.*past.*{CACHE}"),
    "present": ("Attention", ["x", "w", "b"], ["y", "present"], {"num_heads": 2}, f"Attention.*present.*{CACHE}"),
    "past_of_keys": ("MultiHeadAttention", ["x", "x", "x", "", "", "", "past", "past"], ["y"], {"num_heads": 2},
                     f"MultiHeadAttention.*past_key.*{CACHE}"),
    "packed": ("MultiHeadAttention", ["x"], ["y"], {"num_heads": 2}, f"MultiHeadAttention.*packed.*{CACHE}"),
    "rotated": ("Attention", ["x", "w", "b"], ["y"], {"num_heads": 2, "do_rotary": 1}, f"Attention.*do_rotary.*{CACHE}"),
    "activation": ("FusedGemm", ["x", "w"], ["y"], {"activation": "ScaledTanh"}, "FusedGemm.*ScaledTanh.*Relu"),
    "parameters": ("FusedGemm", ["x", "w"], ["y"], {"activation": "LeakyRelu"}, "FusedGemm.*LeakyRelu lacks alpha"),
    "moments": ("SkipLayerNormalization", ["x", "x", "b"], ["y", "mean"], {}, "SkipLayerNormalization.*output mean"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_standard_form_is_refused_by_name(name: str, tmp_path: Path) -> None:
    op_type, inputs, outputs, attributes, reason = REFUSED[name]
    node = helper.make_node(op_type, inputs, outputs, "fused", domain=DOMAIN, **attributes)
    kinds = {
        "ends": (TensorProto.INT32, ["n"]),
        "total": (TensorProto.INT32, []),
        "past": (TensorProto.FLOAT, ["n", 2, 3, 4]),
    }
    given = [("x", TensorProto.FLOAT, ["n", 5, 8])] + [
        (each, *kinds[each]) for each in kinds if each in inputs
    ]
    tensors = {"w": weights(RNG, 8, 24), "b": weights(RNG, 24)}
    graph = helper.make_graph(
        [node],
        "refused",
        [helper.make_tensor_value_info(*each) for each in given],
        [helper.make_tensor_value_info(each, TensorProto.FLOAT, ["n", None, None]) for each in outputs],
        [numpy_helper.from_array(array, key) for key, array in tensors.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    path = tmp_path / "refused.onnx"
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    with pytest.raises(ModelError, match=rf"refused.onnx: node fused: {reason}") as error:
        canonicalize(load_model(path), "refused.onnx")
    assert "\n" not in str(error.value)


def test_what_hangs_on_the_shape_of_a_normalized_tensor_folds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Positions by the length, which the optimizer has picked out of a shape that it picked in another order before."""
    tensors = {"scale": np.ones(8, np.float32), "t": weights(RNG, 9, 8), "w": weights(RNG, 8, 4)}
    tensors |= {
        "order": np.array([0, 2, 1]), "second": np.array(2), "zero": np.array(0), "one": np.array(1),
    }  # fmt: skip
    nodes = [
        helper.make_node("SimplifiedLayerNormalization", ["x", "scale"], ["n"], "normalize", axis=-1, epsilon=1e-6),
        helper.make_node("Shape", ["n"], ["lengths"], "lengths"),
        helper.make_node("Gather", ["lengths", "order"], ["ordered"], "ordered"),
        helper.make_node("Gather", ["ordered", "second"], ["length"], "length"),
        helper.make_node("Range", ["zero", "length", "one"], ["places"], "places"),
        helper.make_node("Gather", ["t", "places"], ["rows"], "rows"),
        helper.make_node("Add", ["n", "rows"], ["s"], "sum"),
        helper.make_node("MatMul", ["s", "w"], ["y"], "last"),
    ]  # fmt: skip
    model = make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", 5, 8])], [("y", ["n", 5, 4])], tensors, opset=17
    )
    onnx.save(model, tmp_path / "source.onnx")
    mpq_onnx.export(tmp_path / "source.onnx", tmp_path / "float.onnx")
    kinds = {node.op_type for node in onnx.load(tmp_path / "float.onnx").graph.node}
    assert kinds == {"RMSNormalization", "Add", "MatMul"}
    assert not [record for record in caplog.records if "inference" in record.getMessage()]


def test_files_as_they_are_name_what_is_not_counted(residual: Path, tmp_path: Path) -> None:
    """Only until they are exported."""
    path = optimized(residual, EXTENDED)
    assert "com.microsoft" in str(mpq_onnx.card(path)["weights"]["not counted"])
    mpq_onnx.export(path, tmp_path / "float.onnx")
    assert mpq_onnx.card(tmp_path / "float.onnx")["weights"]["not counted"] == "none"


def test_what_no_optimizer_writes_stays_and_is_named(tmp_path: Path) -> None:
    node = helper.make_node("Inverse", ["c"], ["i"], "inverse", domain=DOMAIN)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["c"], "before"),
        node,
        helper.make_node("MatMul", ["i", "w"], ["y"], "behind"),
    ]
    model = make_model(
        nodes, [("x", TensorProto.FLOAT, ["n", 4, 4])], [("y", ["n", 4, 4])], {"w": weights(RNG, 4, 4)}
    )
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    path = tmp_path / "other.onnx"
    onnx.save(model, path)
    mpq_onnx.export(path, tmp_path / "float.onnx")
    with pytest.raises(
        ModelError, match=r"op Inverse \(domain com.microsoft\) of node inverse has no torch mirror"
    ):
        mpq_onnx.allocate(
            tmp_path / "float.onnx", "random?count=8", tmp_path / "out", weight_bits=8, activation_bits=8
        )


def test_integers_of_onnxruntime_are_refused_as_before(tmp_path: Path) -> None:
    node = helper.make_node(
        "MatMulNBits", ["x", "q", "s"], ["y"], "packed", domain=DOMAIN, K=32, N=4, bits=4, block_size=32
    )
    tensors = {"q": np.zeros((4, 1, 16), np.uint8), "s": np.ones(4, np.float32)}
    model = make_model([node], [("x", TensorProto.FLOAT, ["n", 32])], [("y", ["n", 4])], tensors)
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    path = tmp_path / "packed.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"is quantized already .*MatMulNBits, from node packed on"):
        mpq_onnx.export(path, tmp_path / "float.onnx")
