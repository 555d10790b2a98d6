"""models: what export knows by name."""

from mpq_onnx.zoo import named_models


def models(pattern: str = "") -> dict[str, list[str]]:
    """Names of models by kind, as in kind:name.

    Args:
        pattern: only names that contain it, whatever the case.
    """
    return {
        kind: [name for name in names if pattern.lower() in name.lower()]
        for kind, names in named_models().items()
    }
