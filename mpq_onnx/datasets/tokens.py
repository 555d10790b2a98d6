"""From sentences to a text model's input, by the tokenizer that its export kept in the metadata. No transformers here."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mpq_onnx.datasets.base import Facts
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.errors import DataError
from mpq_onnx.graph.metadata import METADATA_TOKENIZER
from mpq_onnx.graph.model_inputs import ModelInput

if TYPE_CHECKING:
    import tokenizers

Sentences = str | tuple[str, str]
"""One text, or a pair that the model compares."""
Tokenize = Callable[[Sequence[Sentences]], dict[str, np.ndarray]]
PADDING_TOKENS = ("[PAD]", "<pad>", "<|endoftext|>")


def open_tokenizer(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Tokenize:
    """A function that makes int64 [texts, length] arrays by input name, padded and cut to the model's length.

    Raises:
        DataError: no tokenizer in the model, or a model without a fixed length where the spec gives none.
    """
    kept = facts.get(METADATA_TOKENIZER)
    if kept is None:
        raise DataError(
            f"{spec.text}: the model has no tokenizer in its metadata; export it from transformers:DIR, or give arrays (npz:)"
        )
    shape = inputs[0].shape
    own = shape[1] if shape is not None and len(shape) == 2 else None
    length = spec.integer("length", own)
    if length is None:
        raise DataError(f"{spec.text}: the model takes texts of any length; give length=, in tokens")
    import tokenizers  # of texts alone

    tokenizer = tokenizers.Tokenizer.from_str(kept)
    padding = tokenizer.padding or _padding(tokenizer)
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(
        length=length,
        pad_id=padding["pad_id"],
        pad_token=padding["pad_token"],
        pad_type_id=padding.get("pad_type_id", 0),
    )

    def tokenize(texts: Sequence[Sentences]) -> dict[str, np.ndarray]:
        encoded = tokenizer.encode_batch(list(texts))
        return {
            "input_ids": np.array([each.ids for each in encoded], np.int64),
            "attention_mask": np.array([each.attention_mask for each in encoded], np.int64),
            "token_type_ids": np.array([each.type_ids for each in encoded], np.int64),
        }

    return tokenize


def tokenizer_setup(spec: DataSpec, facts: Facts) -> str:
    """All that the tokens of a text depend on, beside the model's own length."""
    return repr((facts.get(METADATA_TOKENIZER), spec.option("length")))


def _padding(tokenizer: "tokenizers.Tokenizer") -> dict:
    for token in PADDING_TOKENS:
        found = tokenizer.token_to_id(token)
        if found is not None:
            return {"pad_id": found, "pad_token": token}
    return {"pad_id": 0, "pad_token": tokenizer.id_to_token(0)}
