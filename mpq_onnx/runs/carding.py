"""card: the quantization card of any ONNX file, and what two files do not share. No torch here."""

import os

from mpq_onnx.graph.model_file import file_bytes, load_model
from mpq_onnx.report.card import make_card
from mpq_onnx.report.card_text import Card


def card(path: str | os.PathLike[str]) -> Card:
    """The card of an ONNX file, this project's or another tool's.

    Raises:
        ModelError: the file cannot be read.
        AllocationError: it carries an allocation that cannot be read.
    """
    return make_card(load_model(path), file_bytes(path))
