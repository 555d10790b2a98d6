"""Where models come from: an ONNX file, or `kind:name`. A new kind is one file and one line in KINDS."""

from collections.abc import Callable

from mpq_onnx.errors import UsageError
from mpq_onnx.zoo import onnx_file, python_factory, torchvision_models
from mpq_onnx.zoo.source import SourceModel, SourceOptions

KINDS: dict[str, Callable[[str, SourceOptions], SourceModel]] = {
    "torchvision": torchvision_models.open_source,
    "python": python_factory.open_source,
}


def open_source(text: str, options: SourceOptions) -> SourceModel:
    """The model that `text` names: a path, torchvision:NAME or python:package.module:factory.

    Raises:
        ModelError: no such file or model, or one that cannot be exported.
        UsageError: options that do not go with the source.
    """
    kind, colon, name = text.partition(":")
    if colon and kind in KINDS:
        return KINDS[kind](name, options)
    if options.weights is not None:
        raise UsageError(
            f"--weights goes with {', '.join(f'{kind}:' for kind in KINDS)} sources, not with {text}"
        )
    return onnx_file.open_source(text)


__all__ = ["KINDS", "SourceModel", "SourceOptions", "open_source"]
