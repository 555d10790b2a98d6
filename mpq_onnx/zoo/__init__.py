"""Where models come from: an ONNX file, or `kind:name`. A new kind is one file and one line in KINDS."""

import importlib
import re
from pathlib import Path
from types import ModuleType

from mpq_onnx.errors import UsageError
from mpq_onnx.graph.given_model import GivenModel
from mpq_onnx.zoo.source import SourceModel, SourceOptions

KINDS: dict[str, str] = {
    "torchvision": "torchvision_models",
    "pytorchcv": "pytorchcv_models",
    "timm": "timm_models",
    "transformers": "transformers_models",
    "dlrm": "dlrm",
    "python": "python_factory",
}
"""The module of each kind, which has open_source(name, options), and names() where it knows some.

Imported when it is asked for: some libraries take seconds.
"""


def named_models() -> dict[str, list[str]]:
    """Names by kind, for the kinds that know theirs."""
    modules = {kind: _module(kind) for kind in KINDS}
    return {kind: module.names() for kind, module in modules.items() if hasattr(module, "names")}


def open_source(text: str | GivenModel, options: SourceOptions) -> SourceModel:
    """The model that `text` names: a path, or a kind in KINDS with what it takes; or one in memory.

    Raises:
        ModelError: no such file or model, or one that cannot be exported.
        UsageError: options that do not go with the source.
    """
    kind, name = _parts(text) if isinstance(text, str) else (None, "")
    if kind is not None:
        source: SourceModel = _module(kind).open_source(name, options)
        return source
    for option, given in (
        ("--weights", options.weights is not None),
        ("--pretrained", options.pretrained),
    ):
        if given:
            raise UsageError(f"{option} goes with a named model (see `mpq-onnx models`), not with {text}")
    from mpq_onnx.zoo import onnx_file

    return onnx_file.open_source(text)


def source_name(text: str) -> str:
    """What a file remembers of its source: no folders, which are somebody's own."""
    kind, name = _parts(text)
    if kind is None:
        return Path(text).name
    return f"{kind}:{Path(name).name}" if Path(name).is_absolute() else text


def _parts(text: str) -> tuple[str | None, str]:
    """(kind, what it takes); no kind for a path."""
    kind = re.split("[:?]", text, maxsplit=1)[0]
    name = text[len(kind) + 1 :]
    return (kind, name) if kind in KINDS and (name or kind == "dlrm") else (None, text)


def _module(kind: str) -> ModuleType:
    return importlib.import_module(f"mpq_onnx.zoo.{KINDS[kind]}")


__all__ = ["KINDS", "SourceModel", "SourceOptions", "named_models", "open_source", "source_name"]
