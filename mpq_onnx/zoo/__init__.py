"""Where models come from: an ONNX file, or `kind:name`. A new kind is one file and one line in KINDS."""

import importlib

from mpq_onnx.errors import UsageError
from mpq_onnx.zoo.source import SourceModel, SourceOptions

KINDS: dict[str, str] = {
    "torchvision": "torchvision_models",
    "pytorchcv": "pytorchcv_models",
    "transformers": "transformers_models",
    "dlrm": "dlrm",
    "python": "python_factory",
}
"""The module of each kind, which has open_source(name, options). Imported when asked for: some libraries take seconds."""


def open_source(text: str, options: SourceOptions) -> SourceModel:
    """The model that `text` names: a path, or a kind in KINDS with what it takes.

    Raises:
        ModelError: no such file or model, or one that cannot be exported.
        UsageError: options that do not go with the source.
    """
    kind, _, name = text.partition("?" if text.startswith("dlrm?") else ":")
    if kind in KINDS and (name or kind == "dlrm"):
        source: SourceModel = importlib.import_module(f"mpq_onnx.zoo.{KINDS[kind]}").open_source(
            name, options
        )
        return source
    for option, given in (
        ("--weights", options.weights is not None),
        ("--pretrained", options.pretrained),
    ):
        if given:
            raise UsageError(f"{option} goes with a named model (see `mpq-onnx models`), not with {text}")
    from mpq_onnx.zoo import onnx_file

    return onnx_file.open_source(text)


__all__ = ["KINDS", "SourceModel", "SourceOptions", "open_source"]
