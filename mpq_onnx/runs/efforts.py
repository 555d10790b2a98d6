"""How much is done for a result: what --effort stands for, where an option is not given by itself."""

import math
from dataclasses import dataclass

FEWEST_EXAMPLES = 32
"""However large the network is."""
MEASURED_EXAMPLES, MEASURED_NETWORKS = 512, 5
QUICK, NORMAL, THOROUGH = "quick", "normal", "thorough"


@dataclass(frozen=True)
class Effort:
    """Defaults of the options that cost time."""

    method: str
    rounding: str
    steps: int
    """Of training."""
    batch_size: int
    """Of a step."""
    learning_rate: float
    """Fewer steps are longer ones."""
    cost_examples: int
    """What costs are measured on; each brings a backward pass."""
    rounding_examples: int
    training_examples: int | None
    """None: all that there are."""
    macs: float
    """Multiply-accumulates that the examples of costs, of training and of rounding may come to, each, in one pass."""
    measures_closed_form: bool
    """Beside what refines it, where that is nearer to the float model already."""

    def examples(self, wanted: int, macs: int) -> int:
        """How many examples of `macs` multiply-accumulates each are looked at, where `wanted` are of small networks."""
        return int(min(wanted, max(self.macs // max(macs, 1), FEWEST_EXAMPLES)))

    def measured_examples(self, macs: int) -> int:
        """How many training examples tell which of several networks, each of `macs`, comes closest to the float one."""
        return self.examples(MEASURED_EXAMPLES, macs * MEASURED_NETWORKS)


EFFORTS = {
    QUICK: Effort("water-filling", "nearest", 32, 16, 0.03, 128, 128, 512, 5e11, False),
    NORMAL: Effort("refined", "adaptive", 32, 16, 0.03, 256, 512, None, 7e11, False),
    THOROUGH: Effort("refined", "adaptive", 150, 32, 0.01, 512, 1024, None, math.inf, True),
}
"""Quick is the closed form, in seconds; thorough trains and looks at as much as the papers do."""


def shown(field: str) -> str:
    """The default of an option that the effort decides, for its help."""
    values = {name: getattr(effort, field) for name, effort in EFFORTS.items()}
    normal = values.pop(NORMAL)
    others = [f"{name}: {_text(value)}" for name, value in values.items() if value != normal]
    return "; ".join([_text(normal), *others])


def _text(value: object) -> str:
    return "all" if value is None else str(value)
