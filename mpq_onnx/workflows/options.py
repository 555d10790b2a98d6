"""allocate's options: one typed record, checked before any work starts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

from mpq_onnx.equalization import DEPTHWISE, EQUALIZATIONS
from mpq_onnx.errors import UsageError, check_choice
from mpq_onnx.mirror.width_choice import WIDTH_CHOICES
from mpq_onnx.observers import OBSERVERS
from mpq_onnx.placement import EMBEDDING_BITS, FIRST_LAST, INCLUDE, PLACEMENTS
from mpq_onnx.precision.items import GRANULARITIES
from mpq_onnx.precision.methods import METHODS
from mpq_onnx.precision.resources import MEAN, RESOURCES
from mpq_onnx.precision.targets import AUTO, TARGETS
from mpq_onnx.quantization import ASYMMETRIC, MAXIMUM_BITS, SCHEMES, counted_bits, levels_of
from mpq_onnx.quantized_network import ACTIVATION_RANGES, STATIC
from mpq_onnx.rounding import BIASES, INT32_BIAS, ROUNDINGS
from mpq_onnx.runtime.session import DEVICES
from mpq_onnx.storage import STORAGES
from mpq_onnx.weights import PER_CHANNEL, WEIGHT_OBSERVERS, WEIGHT_SCALES


@dataclass(frozen=True)
class AllocateOptions:
    """How to allocate; the budgets are arguments of their own."""

    method: str = "refined"
    granularity: str = "layer"
    bit_choices: tuple[float, ...] = (2, 3, 4, 5, 6, 7, 8)
    """Widths that a weight may get, whole or fractional; 0 prunes."""
    activation_bit_choices: tuple[float, ...] | None = None
    """Widths that an activation may get; None means those of the weights."""
    activation_budget: str = MEAN
    """mean or max: what the activations' budget is a budget of."""
    placement: str = "all"
    first_last: str = INCLUDE
    """First and last layer: include, 8 or float."""
    observer: str = "mse"
    """For activation ranges."""
    activation_scheme: str = ASYMMETRIC
    activation_ranges: str = STATIC
    """static, or dynamic: of each example."""
    weight_observer: str = "mse"
    weight_scheme: str = ASYMMETRIC
    weight_scales: str = PER_CHANNEL
    """channel or tensor: how many scales a weight has."""
    equalization: str = DEPTHWISE
    embedding_bits: int = EMBEDDING_BITS
    """Of embedding tables, outside the budget; 0 leaves them float."""
    bias: str = INT32_BIAS
    rounding: str = "adaptive"
    bias_correction: bool = True
    variance_correction: bool = False
    """Scale weights to have the float ones' variance in every channel."""
    rounding_examples: int = 1024
    """Examples that rounding and bias correction look at."""
    storage: str = "int8"
    steps: int = 150
    batch_size: int = 32
    learning_rate: float = 0.01
    penalty: float = 2.0
    labels: str = AUTO
    """What the training holds the outputs to: auto, real, generated or distilled."""
    width_choice: str = "nearest"
    """nearest or stochastic: the width of a training step's forward pass."""
    learned_ranges: bool = False
    """Learn a factor on every range beside the widths."""
    training_examples: int | None = None
    """Take so many of the data, drawn by the seed, for calibration and training; None for all."""
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, choices in (
            ("method", METHODS),
            ("granularity", GRANULARITIES),
            ("activation_budget", RESOURCES),
            ("placement", PLACEMENTS),
            ("first_last", FIRST_LAST),
            ("observer", OBSERVERS),
            ("activation_scheme", SCHEMES),
            ("activation_ranges", ACTIVATION_RANGES),
            ("weight_observer", WEIGHT_OBSERVERS),
            ("weight_scheme", SCHEMES),
            ("weight_scales", WEIGHT_SCALES),
            ("equalization", EQUALIZATIONS),
            ("bias", BIASES),
            ("rounding", ROUNDINGS),
            ("labels", TARGETS),
            ("width_choice", WIDTH_CHOICES),
            ("storage", STORAGES),
            ("device", DEVICES),
        ):
            check_choice(name.replace("_", "-"), getattr(self, name), choices)
        if self.activation_ranges != STATIC and self.activation_scheme == "symmetric-unsigned":
            raise UsageError(
                "activation-scheme symmetric-unsigned: needs --activation-ranges static, since an example's own range may be of"
                " either sign; choose symmetric for dynamic ranges"
            )
        _check_widths("bit-choices", self.bit_choices, smallest=0)
        if self.activation_bit_choices is not None:
            _check_widths("activation-bit-choices", self.activation_bit_choices, smallest=1)
        if not 0 <= self.embedding_bits <= MAXIMUM_BITS:
            raise UsageError(f"--embedding-bits {self.embedding_bits}: choose 0 (float) to {MAXIMUM_BITS}")
        for name in ("rounding_examples", "steps", "batch_size", "training_examples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name.replace('_', '-')} {value}: must be at least 1")
        check_training(self.learning_rate, self.penalty)

    @property
    def activation_choices(self) -> tuple[float, ...]:
        """The activations' widths."""
        if self.activation_bit_choices is not None:
            return self.activation_bit_choices
        return tuple(width for width in self.bit_choices if width >= 1)


def check_training(learning_rate: float, penalty: float | None) -> None:
    """Raise UsageError for numbers that no training can begin with."""
    for name, value in (("learning-rate", learning_rate), ("penalty", penalty)):
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{name} {value:g}: give a number above 0")


def check_budgets(weight_bits: float | None, activation_bits: float | None, options: AllocateOptions) -> None:
    """Raise UsageError for budgets that no choice of widths keeps; says the smallest that can be reached.

    A budget above the widest choice is kept, but cannot be spent (see beyond_choices).
    """
    if weight_bits is None and activation_bits is None:
        raise UsageError("give --weight-bits, --activation-bits or both: there is nothing to quantize")
    for name, budget, choices in (
        ("weight-bits", weight_bits, options.bit_choices),
        ("activation-bits", activation_bits, options.activation_choices),
    ):
        if budget is None:
            continue
        if not choices:
            raise UsageError(
                f"--{name} {budget:g}: none of --bit-choices is 1 or more; give --activation-bit-choices"
            )
        _check_number(name, budget)
        if not 0 <= budget <= MAXIMUM_BITS:
            raise UsageError(f"--{name} {budget:g}: a mean width is a number from 0 to {MAXIMUM_BITS}")
        least = min(counted_bits(width) for width in choices)
        if budget < least:
            raise UsageError(
                f"--{name} {budget:g}: cannot be reached; the smallest mean with widths"
                f" {', '.join(f'{width:g}' for width in sorted(choices))} is {least:.5g}"
            )


def beyond_choices(
    weight_bits: float | None, activation_bits: float | None, options: AllocateOptions
) -> tuple[str, ...]:
    """A line for each budget above the widest choice, which cannot be spent."""
    return tuple(
        f"--{name} {budget:g}: cannot be spent; the widest choice is {max(choices):g}, and that is what every tensor gets"
        for name, budget, choices in (
            ("weight-bits", weight_bits, options.bit_choices),
            ("activation-bits", activation_bits, options.activation_choices),
        )
        if budget is not None and budget > max(map(counted_bits, choices))
    )


def leaves_no_choice(
    weight_bits: float | None, activation_bits: float | None, options: AllocateOptions
) -> bool:
    """True where every tensor may have the widest choice: all methods find the same widths."""
    return all(
        budget is None or budget >= max(map(counted_bits, choices))
        for budget, choices in (
            (weight_bits, options.bit_choices),
            (activation_bits, options.activation_choices),
        )
    )


def _check_widths(name: str, widths: Sequence[float], smallest: int) -> None:
    """Raise UsageError for widths out of range, and for two that are one."""
    if not widths:
        raise UsageError(f"--{name}: give at least one width")
    by_levels: dict[int, float] = {}
    for width in widths:
        _check_number(name, width)
        if not smallest <= width <= MAXIMUM_BITS:
            raise UsageError(f"--{name}: {width:g} is not a width from {smallest} to {MAXIMUM_BITS}")
        levels = levels_of(width)
        if levels in by_levels:
            raise UsageError(
                f"--{name}: {by_levels[levels]:g} and {width:g} are both {levels} levels; give each width once"
            )
        by_levels[levels] = width


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"--{name}: {value!r} is no number")
