"""transformers:DIR_OR_NAME - a text model of Hugging Face transformers: a folder, a name on its hub, or a kind such as bert.

A folder brings weights and tokenizer of its own. A kind (transformers' model type) is built with its default configuration,
that of bert-base for bert, and random weights. A name on the hub is downloaded; with --pretrained, its weights too.
"""

import dataclasses
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from mpq_onnx.errors import ModelError, UsageError, one_line
from mpq_onnx.graph.metadata import METADATA_LABELS, METADATA_TASK, METADATA_TOKENIZER
from mpq_onnx.zoo.source import SourceModel, SourceOptions
from mpq_onnx.zoo.torch_module import download, export_module, load_state

DEFAULT_TASK = "sequence-classification"
INSTEAD = "save it on another machine (save_pretrained) and give the folder as transformers:DIR"
Outputs = Callable[[Any, Tensor], Any]
"""(what the model returned, attention mask) -> tensors."""


def _mean_pooled(result: Any, mask: Tensor) -> Tensor:
    """The unit vector along the mean of the tokens' vectors, padding left out (as sentence-transformers pools)."""
    weights = mask.unsqueeze(-1).to(result.last_hidden_state.dtype)
    return F.normalize((result.last_hidden_state * weights).sum(1) / weights.sum(1), dim=1)


@dataclass(frozen=True)
class Head:
    """What a task needs of transformers."""

    loader: Any
    outputs: Outputs


HEADS: dict[str, Head] = {
    "sequence-classification": Head(
        transformers.AutoModelForSequenceClassification, lambda result, mask: result.logits
    ),
    "token-classification": Head(
        transformers.AutoModelForTokenClassification, lambda result, mask: result.logits
    ),
    "question-answering": Head(
        transformers.AutoModelForQuestionAnswering,
        lambda result, mask: (result.start_logits, result.end_logits),
    ),
    "fill-mask": Head(transformers.AutoModelForMaskedLM, lambda result, mask: result.logits),
    "feature-extraction": Head(transformers.AutoModel, lambda result, mask: result.last_hidden_state),
    "sentence-embedding": Head(transformers.AutoModel, _mean_pooled),
}


class TextModel(nn.Module):
    """A transformer with tensors in and tensors out."""

    def __init__(self, transformer: nn.Module, outputs: Outputs) -> None:
        super().__init__()
        self.transformer, self.outputs = transformer, outputs

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        result = self.transformer(input_ids=input_ids, attention_mask=attention_mask, **segments)
        return self.outputs(result, attention_mask)


def names() -> list[str]:
    """Kinds of text models that can be built without a download."""
    return sorted(transformers.models.auto.modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)


def open_source(name: str, options: SourceOptions) -> SourceModel:
    """Build the model for a task and export it for a fixed number of tokens."""
    where = f"transformers:{name}"
    task = options.task or DEFAULT_TASK
    if task not in HEADS:
        raise UsageError(f"--task {task}: choose one of {', '.join(HEADS)}")
    torch.manual_seed(options.seed)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    transformer, tokenizer = _build(name, HEADS[task], options, where)
    config = transformer.config
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and options.sequence_length > longest:
        raise UsageError(
            f"--sequence-length {options.sequence_length}: {where} takes at most {longest} tokens"
        )
    if options.weights is not None:
        load_state(transformer, options.weights)
    ids = torch.ones(2, options.sequence_length, dtype=torch.int64)
    # One tensor given twice would be exported as one input.
    example = {"input_ids": ids, "attention_mask": ids.clone()}
    if "token_type_ids" in inspect.signature(transformer.forward).parameters and hasattr(
        config, "type_vocab_size"
    ):
        example["token_type_ids"] = torch.zeros_like(ids)
    source = export_module(TextModel(transformer, HEADS[task].outputs), example, where)
    metadata = {METADATA_TASK: task}
    if tokenizer is not None:
        metadata[METADATA_TOKENIZER] = tokenizer.backend_tokenizer.to_str()
    if task.endswith("classification") and "LABEL_0" not in config.id2label.values():
        metadata[METADATA_LABELS] = json.dumps([config.id2label[index] for index in sorted(config.id2label)])
    return dataclasses.replace(source, metadata=metadata)


def _build(name: str, head: Head, options: SourceOptions, where: str) -> tuple[Any, Any]:
    """The model, and its fast tokenizer or None."""
    eager = {"attn_implementation": "eager"}  # exports to the smaller graph
    if Path(name).is_dir():
        try:
            return head.loader.from_pretrained(name, **eager), _tokenizer(name)
        except Exception as error:  # transformers, safetensors and torch raise many kinds
            raise ModelError(f"{where}: cannot be loaded: {one_line(error)}") from error
    if name in CONFIG_MAPPING_NAMES:
        if options.pretrained:
            raise UsageError(
                f"{where}: names a kind of model, which has no weights; give a name on the hub or a folder"
            )
        try:
            return head.loader.from_config(transformers.AutoConfig.for_model(name), **eager), None
        except ValueError as error:
            raise ModelError(f"{where}: cannot be built for this task: {one_line(error)}") from error
    if options.pretrained:
        return download(lambda: head.loader.from_pretrained(name, **eager), where, INSTEAD), _tokenizer(name)
    config = download(lambda: transformers.AutoConfig.from_pretrained(name), where, INSTEAD)
    return head.loader.from_config(config, **eager), _tokenizer(name)


def _tokenizer(name: str) -> Any:
    """The fast tokenizer beside the model; None where there is none."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    except Exception:  # no tokenizer files: the model is still good for arrays of tokens
        return None
    return tokenizer if getattr(tokenizer, "backend_tokenizer", None) is not None else None
