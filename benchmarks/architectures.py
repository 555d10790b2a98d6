"""Other people's architectures, small and with random weights, as torch exports them: W8A8 beside onnxruntime's own quantizer.

What counts is that none is refused or ends in a traceback, and that none is far below onnxruntime's file (QDQ, ranges from the
smallest to the largest value, int8 weights a channel, the same calibration data). Random weights make hard networks: what both
tools spoil says little, and a few decibels are the draw of 48 examples. Both exporters of torch, the closed form (`quick`).

    python benchmarks/architectures.py                       # about 6 CPU minutes
    ARCHITECTURES=albert,detr python benchmarks/architectures.py
    python benchmarks/architectures.py --show
"""

import contextlib
import io
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from kept import Kept, measure_and_show
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from tabulate import tabulate

import mpq_onnx

OUTPUT = Path(__file__).resolve().parent / "output" / "architectures"
WORDS, LENGTH = 99, 12
CALIBRATION, TEST = 48, 32
TEXT = {
    "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
    "max_position_embeddings": 64,
}  # fmt: skip
IMAGE = {
    "image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "num_labels": 5,
}  # fmt: skip
STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "num_labels": 5}
DECODER = {**TEXT, "use_cache": False}
HALF = {
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
}


@dataclass(frozen=True)
class Architecture:
    """A class of transformers, its configuration, and what of its answer is the output."""

    network: str
    configuration: str
    options: dict[str, Any]
    output: str = "logits"
    shape: tuple[int, ...] = (LENGTH,)
    """Of an example; of one axis: words."""

    @property
    def is_text(self) -> bool:
        return len(self.shape) == 1


SQUARE, LARGE = (3, 32, 32), (3, 64, 64)
ARCHITECTURES = {
    "albert": Architecture("AlbertForSequenceClassification", "AlbertConfig", {**TEXT, "embedding_size": 16}),
    "bloom": Architecture(
        "BloomForCausalLM", "BloomConfig",
        {"vocab_size": WORDS, "hidden_size": 32, "n_layer": 2, "n_head": 4, "use_cache": False},
    ),
    "beit": Architecture(
        "BeitForImageClassification", "BeitConfig", {**IMAGE, "use_relative_position_bias": True}, shape=SQUARE
    ),
    "clip": Architecture(
        "CLIPVisionModelWithProjection", "CLIPVisionConfig", {**IMAGE, "projection_dim": 16}, "image_embeds", SQUARE
    ),
    "convnext": Architecture("ConvNextForImageClassification", "ConvNextConfig", {**STAGES, "image_size": 64}, shape=LARGE),
    "deberta": Architecture(
        "DebertaV2ForSequenceClassification", "DebertaV2Config",
        {**TEXT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "max_relative_positions": 16},
    ),
    "detr": Architecture(
        "DetrForObjectDetection", "DetrConfig",
        {
            **HALF, "use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None, "d_model": 32,
            "encoder_layers": 1, "decoder_layers": 1, "num_queries": 6, "num_labels": 5,
            "backbone_config": transformers.ResNetConfig(
                embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"]
            ),
        },
        shape=LARGE,
    ),
    "electra": Architecture("ElectraForTokenClassification", "ElectraConfig", {**TEXT, "embedding_size": 16}),
    "gemma": Architecture("GemmaForCausalLM", "GemmaConfig", {**DECODER, "num_key_value_heads": 1, "head_dim": 8}),
    "levit": Architecture(
        "LevitForImageClassification", "LevitConfig",
        {
            "image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 3, 4], "key_dim": [8, 8, 8],
            "depths": [1, 1, 1], "num_labels": 5,
        },
        shape=LARGE,
    ),
    "llama": Architecture("LlamaForCausalLM", "LlamaConfig", {**DECODER, "num_key_value_heads": 2}),
    "modernbert": Architecture(
        "ModernBertForSequenceClassification", "ModernBertConfig",
        {**TEXT, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    ),
    "roberta": Architecture("RobertaForSequenceClassification", "RobertaConfig", TEXT),
    "segformer": Architecture(
        "SegformerForSemanticSegmentation", "SegformerConfig",
        {
            "num_encoder_blocks": 4, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32],
            "num_attention_heads": [1, 2, 2, 4], "decoder_hidden_size": 16, "num_labels": 4,
        },
        shape=LARGE,
    ),
    "swin": Architecture(
        "SwinForImageClassification", "SwinConfig",
        {
            "image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4,
            "num_labels": 5,
        },
        shape=SQUARE,
    ),
    "t5": Architecture(
        "T5EncoderModel", "T5Config",
        {"vocab_size": WORDS, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
        "last_hidden_state",
    ),
    "vit": Architecture("ViTForImageClassification", "ViTConfig", IMAGE, shape=SQUARE),
}  # fmt: skip
EXPORTERS = {"TorchScript": False, "dynamo": True}


@dataclass(frozen=True)
class Work:
    """One file."""

    name: str
    exporter: str

    @property
    def architecture(self) -> Architecture:
        return ARCHITECTURES[self.name]

    @property
    def path(self) -> Path:
        return OUTPUT / f"{self.name}-{self.exporter}.onnx"


class Answer(torch.nn.Module):
    """A network of which one output counts."""

    def __init__(self, of: Architecture) -> None:
        super().__init__()
        torch.manual_seed(0)
        configuration = getattr(transformers, of.configuration)(**of.options)
        self.of = of
        self.network = getattr(transformers, of.network)._from_config(
            configuration, attn_implementation="eager"
        )

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        name = "input_ids" if self.of.is_text else "pixel_values"
        return getattr(self.network(**{name: given}), self.of.output)


class Batches(CalibrationDataReader):
    """Calibration data as onnxruntime's quantizer reads it."""

    def __init__(self, data: np.ndarray, size: int) -> None:
        self.left = iter([{"x": data[start : start + size]} for start in range(0, len(data), size)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


def examples(of: Architecture, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if of.is_text:
        return rng.integers(3, WORDS - 1, (count, *of.shape))
    return rng.normal(0, 1, (count, *of.shape)).astype(np.float32)


def export(work: Work) -> None:
    given = torch.from_numpy(examples(work.architecture, 1 if EXPORTERS[work.exporter] else 2, 9))
    options: dict[str, Any] = {
        "input_names": ["x"],
        "output_names": ["y"],
        "dynamo": EXPORTERS[work.exporter],
    }
    if not EXPORTERS[work.exporter]:
        options |= {"dynamic_axes": {"x": {0: "batch"}, "y": {0: "batch"}}, "opset_version": 17}
    torch.onnx.export(Answer(work.architecture).eval(), (given,), str(work.path), **options)


def answers(path: Path, data: np.ndarray) -> np.ndarray:
    """[examples, ...], at once or one by one."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    size = session.get_inputs()[0].shape[0]
    size = size if isinstance(size, int) else len(data)
    found = [session.run(None, {"x": data[start : start + size]})[0] for start in range(0, len(data), size)]
    return np.concatenate(found)


def decibels(exact: np.ndarray, path: Path, data: np.ndarray) -> float:
    error = exact.astype(np.float64) - answers(path, data)
    return float(10 * np.log10((exact.astype(np.float64) ** 2).sum() / (error**2).sum()))


def reached(make: Callable[[], Path], exact: np.ndarray, data: np.ndarray) -> float | str:
    """The SQNR of what `make` writes, or why there is none."""
    try:
        return round(decibels(exact, make(), data), 1)
    except Exception as error:  # onnxruntime's and torch's are of many kinds
        return f"none: {type(error).__name__}"


def measure(work: Work) -> list[dict]:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            export(work)
            onnx.checker.check_model(str(work.path))
        except Exception as error:
            return [{"not_exported": type(error).__name__}]
        calibration, test = (
            examples(work.architecture, count, seed) for count, seed in ((CALIBRATION, 1), (TEST, 2))
        )
        exact = answers(work.path, test)

        def ours() -> Path:
            result = mpq_onnx.allocate(
                work.path, {"x": calibration}, OUTPUT / "allocated", weight_bits=8, activation_bits=8, overwrite=True,
                options=mpq_onnx.AllocateOptions(effort="quick"),
            )  # fmt: skip
            return Path(result.model_path)

        def theirs() -> Path:
            quantized = work.path.with_suffix(".quantized.onnx")
            quantize_static(
                str(work.path), str(quantized), Batches(calibration, 1 if EXPORTERS[work.exporter] else 16),
                quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )  # fmt: skip
            return quantized

        begun = time.process_time()
        found = reached(ours, exact, test)
        spent = time.process_time() - begun
        return [{"ours": found, "onnxruntime": reached(theirs, exact, test), "cpu_seconds": round(spent, 1)}]


def works() -> Iterator[Work]:
    for name in os.environ.get("ARCHITECTURES", ",".join(ARCHITECTURES)).split(","):
        yield from (Work(name, exporter) for exporter in EXPORTERS)


def show(kept: Kept) -> None:
    rows = [
        [
            line["name"],
            line["exporter"],
            *(line.get(each, "not exported") for each in ("ours", "onnxruntime", "cpu_seconds")),
        ]
        for line in kept.lines
    ]
    heads = ["architecture", "exporter", "mpq-onnx, dB", "onnxruntime, dB", "CPU s"]
    print(tabulate(rows, heads, "simple", disable_numparse=True))


if __name__ == "__main__":
    measure_and_show(__doc__, Kept(OUTPUT / "results.jsonl", Work), works(), measure, show)
