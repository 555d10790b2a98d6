"""card: the quantization card of any ONNX file, and what two files do not share. No torch here."""

from typing import Any

from mpq_onnx.graph.given_model import ModelSource, model_source
from mpq_onnx.graph.model_file import file_bytes, load_model
from mpq_onnx.report.card import make_card
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runs.result import Result


class CardResult(dict[str, dict[str, Any]], Result):
    """A card: section -> field -> value."""

    @property
    def title(self) -> str:
        """What it is."""
        return "quantization card"

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row a field."""
        return [
            {"section": section, "field": name, "value": value}
            for section, fields in self.items()
            for name, value in fields.items()
        ]


@checked_arguments
def card(path: ModelSource) -> CardResult:
    """The card of an ONNX file, this project's or another tool's.

    Raises:
        ModelError: the file cannot be read.
        AllocationError: it carries an allocation that cannot be read.
    """
    model = model_source(path)
    return CardResult(make_card(load_model(model), file_bytes(model), str(model)))
