"""Named sources: what is exported computes what the library's own module computes, with the user's weights."""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import safetensors.torch
import tokenizers
import torch
import transformers

from mpq_onnx.errors import ModelError, UsageError
from mpq_onnx.graph.metadata import (
    METADATA_LABELS,
    METADATA_PREPROCESSING,
    METADATA_TABLES,
    METADATA_TASK,
    METADATA_TOKENIZER,
)
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.runs.evaluating import evaluate
from mpq_onnx.runs.exporting import export
from mpq_onnx.runs.listing import models
from mpq_onnx.zoo import dlrm
from mpq_onnx.zoo.torch_module import download


def onnx_outputs(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def interaction(numeric: torch.Tensor, embeddings: list[torch.Tensor]) -> torch.Tensor:
    """The dot interaction of arXiv 1906.00091: products of all pairs of different vectors, after the numeric vector."""
    vectors = [numeric, *embeddings]
    products = [(vectors[i] * vectors[j]).sum(1) for i in range(len(vectors)) for j in range(i)]
    return torch.cat([numeric, torch.stack(products, dim=1)], dim=1)


@pytest.mark.parametrize("form", ["pt", "safetensors", "checkpoint"])
def test_dlrm_checkpoints(form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = dlrm.DlrmSizes(numeric=4, tables=(7, 5, 11), embedding=3, bottom=(8,), top=(6, 5))
    module = dlrm.Dlrm(sizes)
    state = module.state_dict()
    assert {name for name in state if name.startswith("emb_l")} == {f"emb_l.{i}.weight" for i in range(3)}
    weights = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        safetensors.torch.save_file(state, weights)
    elif form == "checkpoint":
        torch.save(
            {"iter": 3, "state_dict": {f"module.{name}": each for name, each in state.items()}}, weights
        )
    else:
        torch.save(state, weights)
    result = export("dlrm", tmp_path / "model.onnx", weights=str(weights))
    assert result.metadata[METADATA_TABLES] == "[7, 5, 11]"
    assert result.metadata[METADATA_TASK] == "binary-classification"
    dense, sparse = (
        torch.randn(6, 4),
        torch.stack([torch.randint(0, rows, (6,)) for rows in sizes.tables], dim=1),
    )
    with torch.no_grad():
        numeric = module.bot_l(dense)
        looked_up = [state[f"emb_l.{i}.weight"][sparse[:, i]] for i in range(3)]
        wanted = module.top_l(interaction(numeric, looked_up))[:, 0]
    found = onnx_outputs(tmp_path / "model.onnx", {"dense": dense.numpy(), "sparse": sparse.numpy()})
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_wrong_weights_and_sizes_are_refused(tmp_path: Path) -> None:
    weights = tmp_path / "w.pt"
    torch.save({"layer.weight": torch.zeros(3)}, weights)
    with pytest.raises(ModelError, match="not a DLRM's state dict"):
        export("dlrm", tmp_path / "m.onnx", weights=str(weights))
    with pytest.raises(ModelError, match="is not a state dict of this model"):
        export("torchvision:resnet18", tmp_path / "m.onnx", weights=str(weights))
    weights.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read as a state dict"):
        export("torchvision:resnet18", tmp_path / "m.onnx", weights=str(weights))
    with pytest.raises(UsageError, match="no weights to download"):
        export("dlrm", tmp_path / "m.onnx", pretrained=True)
    with pytest.raises(ModelError, match="no classifier of this name"):
        export("torchvision:resnet1", tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="no model of this name"):
        export("pytorchcv:resnet1", tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="task cooking"):
        export("transformers:bert", tmp_path / "m.onnx", task="cooking")
    assert list(tmp_path.iterdir()) == [weights]


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"state_dict": {}, "other": Trap()}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="cannot be read"):
        export("dlrm", tmp_path / "m.onnx", weights=str(tmp_path / "w.pt"))
    assert not (tmp_path / "sprung").exists()


def test_a_failed_download_says_what_to_do() -> None:
    def fail() -> None:
        raise OSError("no route to host\nand more")

    with pytest.raises(ModelError, match=r"no route to host and more.*--weights") as caught:
        download(fail, "torchvision:resnet50")
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a tokenizer, as transformers saves them."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=12, id2label={0: "NEGATIVE", 1: "POSITIVE"}, label2id={"NEGATIVE": 0, "POSITIVE": 1},
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("task", ["sequence-classification", "sentence-embedding", "feature-extraction"])
def test_transformers_folder(task: str, text_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    result = export(f"transformers:{text_model}", path, task=task, sequence_length=8)
    assert result.metadata[METADATA_TASK] == task and METADATA_TOKENIZER in result.metadata
    texts = ["good film", "bad bad film unknown"]
    encoded = transformers.AutoTokenizer.from_pretrained(text_model)(
        texts, padding="max_length", max_length=8, return_tensors="pt"
    )
    loader = (
        transformers.AutoModelForSequenceClassification
        if task == "sequence-classification"
        else transformers.AutoModel
    )
    with torch.no_grad():
        made = loader.from_pretrained(text_model).eval()(**encoded)
    if task == "sequence-classification":
        wanted = made.logits
    else:
        wanted = made.last_hidden_state
        if task == "sentence-embedding":
            mask = encoded["attention_mask"].bool()
            means = torch.stack([states[kept].mean(0) for states, kept in zip(wanted, mask, strict=True)])
            wanted = means / means.norm(dim=1, keepdim=True)
    feeds = {name: encoded[name].numpy() for name in ("input_ids", "attention_mask", "token_type_ids")}
    np.testing.assert_allclose(onnx_outputs(path, feeds), wanted, rtol=1e-4, atol=1e-5)


def test_text_goes_from_the_file_to_a_metric(text_model: Path, tmp_path: Path) -> None:
    path, data = tmp_path / "model.onnx", tmp_path / "data.tsv"
    result = export(f"transformers:{text_model}", path, sequence_length=8)
    assert json.loads(result.metadata[METADATA_LABELS]) == ["NEGATIVE", "POSITIVE"]
    data.write_text("good film\tpositive\nbad film\tnegative\nfilm\tpositive\n", encoding="utf-8")
    found = evaluate(path, f"text:{data}").evaluation
    assert set(found.metrics) == {"accuracy"} and found.examples == 3
    with pytest.raises(UsageError, match="at most 12 tokens"):
        export(f"transformers:{text_model}", path, sequence_length=13)


@pytest.mark.slow
def test_random_classifiers_have_living_signals(tmp_path: Path) -> None:
    """Not drowned in one bias: outputs of different images differ about as much as they are large."""
    path = tmp_path / "model.onnx"
    result = export("torchvision:shufflenet_v2_x0_5", path)
    assert result.metadata[METADATA_PREPROCESSING].startswith("resize=256&crop=224")
    images = np.random.default_rng(0).standard_normal((8, 3, 224, 224)).astype(np.float32)
    logits = onnx_outputs(path, {"x": images})
    assert logits.std(axis=0).mean() > 0.2 * np.abs(logits).mean()
    assert {node.op_type for node in load_model(path).graph} >= {"Conv", "Gemm"}


def test_models_lists_the_papers_networks() -> None:
    named = models("")
    assert {"resnet50", "inception_v3", "googlenet", "shufflenet_v2_x1_0", "mobilenet_v2"} <= set(
        named["torchvision"]
    )
    assert "resnet50" in named["pytorchcv"] and "bert" in named["transformers"]
    assert models("shufflenet_v2_x1_0")["torchvision"] == ["shufflenet_v2_x1_0"]
