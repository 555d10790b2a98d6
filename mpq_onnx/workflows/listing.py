"""models: what export knows by name."""

from mpq_onnx.zoo import dlrm, pytorchcv_models, torchvision_models, transformers_models


def models(pattern: str = "") -> dict[str, list[str]]:
    """Names of models by kind, as in kind:name.

    Args:
        pattern: only names that contain it, whatever the case.
    """
    named = {
        "torchvision": torchvision_models.names(),
        "pytorchcv": pytorchcv_models.names(),
        "transformers": transformers_models.names(),
        "dlrm": dlrm.names(),
    }
    return {
        kind: [name for name in names if pattern.lower() in name.lower()] for kind, names in named.items()
    }
