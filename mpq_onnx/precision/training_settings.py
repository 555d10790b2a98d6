"""Settings of the training loop."""

from dataclasses import dataclass

AUTO = "auto"


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
    measures_closed_form: bool = True
    """Method refined proposes the closed form too, where it is further from the float model on training data."""
    corrects_costs: bool = True
    """There are steps enough for method refined to find out anything; where not, it is the closed form."""
    measured_examples: int = 512
    """Training examples that the shares of a correction are compared on (see methods.refined)."""
    learn_ranges: bool = False
    """Learn a factor on every range beside the widths."""
