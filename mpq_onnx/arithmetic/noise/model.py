"""What a noise model is, and what it may ask about a multiply-accumulate node."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

PHOTONS = "photons"
RELATIVE = "relative"


class Mac(Protocol):
    """The quantities of one node; each broadcasts over what the noise is added to (the node's output, or its weight)."""

    @property
    def fan_in(self) -> Any:
        """D: products summed up in one output."""

    @property
    def energy_per_mac(self) -> Any:
        """E: one for the node, or one per output channel."""

    @property
    def weight_range(self) -> Any:
        """R_w: max - min of the weight's quantizer, one for the node or one per output channel."""

    @property
    def input_range(self) -> Any:
        """R_x: max - min of the input's quantizer."""

    @property
    def input_square_sum(self) -> Any:
        """Sum of x^2 over the receptive field of each output."""

    @property
    def weight_square_sum(self) -> Any:
        """Sum of w^2 over the taps of each output that fall on real inputs (not on padding)."""


Variance = Callable[[Mac], Any]


@dataclass(frozen=True)
class NoiseModel:
    """One source of noise, Gaussian and of mean zero.

    The two variances are formulas of a Mac, written with + - * / and ** of its quantities and numbers alone: they are run on
    torch tensors, and written into files as ONNX operators. At least one quantity of the node has a part in each.
    """

    name: str
    unit: str
    """Of energy_per_mac: photons, or relative (to the energy at which the model's constant was stated)."""
    penalty: float
    """lambda: weight of the energy budget in the training loss (arXiv 2102.06365)."""
    output_variance: Variance | None = None
    """Noise added to the pre-activation, independent for each output element."""
    weight_variance: Variance | None = None
    """Noise added to the weight, one draw for each run of the network, shared by the batch."""
    falls_with: float = 1.0
    """p: the variance is proportional to energy_per_mac ** -p. 1 for what is averaged, 0 for a step that no energy changes."""
    needs_weight_range: bool = False
    """True for models that scale with R_w."""
    needs_input_range: bool = False
    """True for models that scale with R_x."""
