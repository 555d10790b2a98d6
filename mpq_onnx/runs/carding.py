"""card: the quantization card of any ONNX file, and what two files do not share. No torch here."""

from mpq_onnx.graph.given_model import ModelSource, model_source
from mpq_onnx.graph.model_file import file_bytes, load_model
from mpq_onnx.report.card import make_card
from mpq_onnx.report.card_text import Card
from mpq_onnx.runs.arguments import checked_arguments


@checked_arguments
def card(path: ModelSource) -> Card:
    """The card of an ONNX file, this project's or another tool's.

    Raises:
        ModelError: the file cannot be read.
        AllocationError: it carries an allocation that cannot be read.
    """
    model = model_source(path)
    return make_card(load_model(model), file_bytes(model), str(model))
