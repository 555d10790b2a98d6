"""models and targets: what export and --target know by name."""

from mpq_onnx.errors import MpqOnnxError
from mpq_onnx.progress import warn
from mpq_onnx.registries import DEVICE_TARGETS
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.targets.description import Target
from mpq_onnx.targets.loading import load_target, shipped_texts
from mpq_onnx.zoo import named_models


@checked_arguments
def models(pattern: str = "") -> dict[str, list[str]]:
    """Names of models by kind, as in kind:name.

    Args:
        pattern: only names that contain it, whatever the case.
    """
    return {
        kind: [name for name in names if pattern.lower() in name.lower()]
        for kind, names in named_models().items()
    }


def shipped_targets() -> dict[str, Target]:
    """The devices whose descriptions come with this package or another, by name; `load_target` reads one, or a file.

    Another package's that cannot be read is left out, with a line on stderr.
    """
    found = {name: load_target(name) for name in shipped_texts()}
    for name in DEVICE_TARGETS:
        try:
            found[name] = load_target(name)
        except MpqOnnxError as error:
            warn(f"target {name} is left out: {error}")
    return found
