"""An ONNX file, of any exporter."""

from mpq_onnx.model_file import METADATA_PREPROCESSING, load_model
from mpq_onnx.runtime.session import Runner
from mpq_onnx.zoo.source import SourceModel


def open_source(path: str) -> SourceModel:
    """The file at `path`; onnxruntime runs it as it is for the comparison."""
    model = load_model(path)
    return SourceModel(model, Runner(path, "cpu").run, model.metadata_props.get(METADATA_PREPROCESSING, ""))
