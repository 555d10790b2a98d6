"""Settings of the training loop."""

from dataclasses import dataclass

from mpq_onnx.registry import Registry

AUTO = "auto"
TARGETS: Registry = Registry(
    {name: f"mpq_onnx.precision.targets:{name}" for name in (AUTO, "real", "generated", "distilled")}
)
"""(outputs, batch) -> the mean loss over the batch."""
WIDTH_CHOICES: Registry = Registry(
    {name: f"mpq_onnx.mirror.width_choice:{name}" for name in ("nearest", "stochastic")}
)
"""Which allowed width stands for a learned one in the forward pass."""


@dataclass(frozen=True)
class TrainingSettings:
    """How levels are learned; the defaults are the papers'."""

    steps: int = 300
    batch_size: int = 32
    learning_rate: float = 0.01
    penalty: float = 2.0
    """lambda: weight of the budget in the loss."""
    seed: int = 0
    labels: str = AUTO
    """A name in TARGETS."""
    width_choice: str = "nearest"
    """A name in WIDTH_CHOICES."""
    learn_ranges: bool = False
    """Learn a factor on every range beside the widths."""
