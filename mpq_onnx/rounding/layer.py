"""What a rounding method sees of one layer, in the matrix form of mirror.matrix_form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from mpq_onnx.graph.placement import WeightSite
    from mpq_onnx.mirror.build import Mirror
    from mpq_onnx.rounding.result import RoundingResult


@dataclass(frozen=True)
class Layer:
    """Float weights and the grid that they must end on."""

    weight: "Tensor"
    """[g, o, k]."""
    scale: "Tensor"
    """[g, o, 1]."""
    zero_point: "Tensor"
    """[g, o, 1]."""
    levels: "Tensor"
    """[g, o, 1]."""


@dataclass(frozen=True)
class Moments:
    """Second moments of the layer's input patches.

    With x the patches that the quantized network delivers and t those of the float network, the mean squared error of the
    layer's output is W_q A W_q^T - 2 W B^T W_q^T + const for each output channel. Where the bias takes the mean error, x and
    t are deviations from their means, and it is the error's variance.
    """

    quantized: "Tensor"
    """A = mean x x^T, [g, k, k]."""
    cross: "Tensor"
    """B = mean x t^T, [g, k, k]."""


class RoundingMethod(Protocol):
    """Chooses the integers of one layer."""

    needs_moments: bool
    refines: bool = False
    """It has something to do when all layers are rounded."""
    batch_size: int = 32
    """Of the data that it is given."""

    def __call__(self, layer: Layer, moments: Moments | None) -> "Tensor":
        """The integers [g, o, k], 0 .. levels-1, as floats; `moments` is given when `needs_moments`."""

    def refined(
        self,
        rounded: "RoundingResult",
        quantized: "Mirror",
        sites: Sequence["WeightSite"],
        batches: Sequence[Sequence["Tensor"]],
    ) -> "RoundingResult":
        """What becomes of the network when all of its layers are rounded; layer-wise methods leave it as it is.

        Args:
            quantized, sites: as of layerwise.round_weights.
            batches: the model's inputs in order, for every batch, of all ranks.
        """
        return rounded
