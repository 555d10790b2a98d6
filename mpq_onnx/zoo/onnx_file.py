"""An ONNX file, of any exporter."""

from mpq_onnx.metadata import MODEL_FACTS
from mpq_onnx.model_file import load_model
from mpq_onnx.runtime.session import Runner
from mpq_onnx.zoo.source import SourceModel


def open_source(path: str) -> SourceModel:
    """The file at `path`; onnxruntime runs it as it is for the comparison."""
    model = load_model(path)
    facts = {key: text for key, text in model.metadata_props.items() if key in MODEL_FACTS}
    return SourceModel(model, Runner(path, "cpu").run, facts)
