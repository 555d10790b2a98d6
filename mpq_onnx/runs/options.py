"""Options of an allocation of bits: one typed record, checked before any work starts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mpq_onnx.arithmetic.overrides import Override, read_overrides
from mpq_onnx.arithmetic.quantization import (
    INT8,
    MAXIMUM_BITS,
    SCHEMES,
    WEIGHT_SCHEMES,
    counted_bits,
    levels_of,
)
from mpq_onnx.errors import UsageError
from mpq_onnx.precision.training_settings import TrainingSettings
from mpq_onnx.registries import (
    ACTIVATION_BUDGETS,
    ACTIVATION_RANGES,
    BIASES,
    EQUALIZATIONS,
    FIRST_LAST,
    GRANULARITIES,
    OBSERVERS,
    PLACEMENTS,
    ROUNDINGS,
    STATIC,
    STORAGES,
    WEIGHT_OBSERVERS,
    WEIGHT_SCALES,
    WIDTH_CHOICES,
)
from mpq_onnx.runs.declared import MACHINE, METHOD, QUANTIZERS, ROUNDING, TRAINING, check_is_number, option
from mpq_onnx.runs.efforts import shown
from mpq_onnx.runs.learning_options import LearningOptions
from mpq_onnx.runs.target_options import RULED, named_widths, take
from mpq_onnx.targets.description import OPTIONS

PENALTY = 2.0
"""Of the papers, for bits."""


@dataclass(frozen=True)
class AllocateOptions(LearningOptions):
    """How to allocate; the budgets are arguments of their own."""

    granularity: str = option(
        "layer", METHOD, "A weight width per layer or per output channel.", choices=GRANULARITIES
    )
    bit_choices: tuple[float, ...] = option(
        (2, 3, 4, 5, 6, 7, 8), METHOD, "Widths that a weight may get; fractions are fine, 0 prunes."
    )
    activation_bit_choices: tuple[float, ...] | None = option(
        None,
        METHOD,
        "The same for activations, where they differ.",
        shown_default="those of the weights from 1 up",
    )
    activation_budget: str = option(
        "mean", METHOD, "What --activation-bits bounds: the mean, or the memory of the largest tensor.",
        choices=ACTIVATION_BUDGETS,
    )  # fmt: skip
    override: tuple[str, ...] = option(
        (), METHOD, "Widths for some nodes, by name, wildcard or operator; they count in the budget. Repeatable.",
        metavar="NODE:weights=8,activations=4|8",
    )  # fmt: skip
    exclude: tuple[str, ...] = option(
        (), METHOD, "These nodes stay float, weights and outputs. Repeatable.", metavar="NODE"
    )
    observer: str = option("mse", QUANTIZERS, "How activation ranges are found.", choices=OBSERVERS)
    activation_scheme: str = option(
        "asymmetric", QUANTIZERS, "Where zero stands among the levels.", choices=SCHEMES
    )
    activation_ranges: str = option(
        STATIC,
        QUANTIZERS,
        "Calibrated ranges, or those of each example.",
        choices=ACTIVATION_RANGES,
    )
    weight_observer: str = option("mse", QUANTIZERS, "How weight ranges are found.", choices=WEIGHT_OBSERVERS)
    weight_scheme: str = option(
        INT8,
        QUANTIZERS,
        "Where zero stands among the levels; int8: where integer kernels are fast.",
        choices=WEIGHT_SCHEMES,
    )
    weight_scales: str = option(
        "channel",
        QUANTIZERS,
        "A scale per output channel, or per tensor.",
        choices=WEIGHT_SCALES,
    )
    equalization: str = option(
        "depthwise",
        QUANTIZERS,
        "Channels scaled so that one range suits them.",
        choices=EQUALIZATIONS,
    )
    placement: str = option(
        "all",
        QUANTIZERS,
        "Quantized activations (docs/placement.md).",
        choices=PLACEMENTS,
    )
    first_last: str = option(
        "include", QUANTIZERS, "First and last layer: in the budget, 8 bits outside it, or float.",
        choices=FIRST_LAST,
    )  # fmt: skip
    embedding_bits: int = option(8, QUANTIZERS, "Of embedding tables, outside the budget; 0: float.")
    bias: str = option("int32", QUANTIZERS, "How biases are stored.", choices=BIASES)
    rounding: str | None = option(
        None, ROUNDING, "How weights become integers.", choices=ROUNDINGS, shown_default=shown("rounding")
    )
    bias_correction: bool = option(True, ROUNDING, "Shift biases to keep every channel's mean.")
    variance_correction: bool = option(False, ROUNDING, "Scale rounded weights back to their variance.")
    rounding_examples: int | None = option(
        None, ROUNDING, "Examples for rounding and bias correction.", least=1,
        shown_default=shown("rounding_examples"),
    )  # fmt: skip
    width_choice: str = option(
        "nearest", TRAINING, "The width of a training step's forward pass.",
        choices=WIDTH_CHOICES,
    )  # fmt: skip
    learned_ranges: bool = option(False, TRAINING, "Learn clipping ranges beside the widths.")
    training_examples: int | None = option(
        None, MACHINE, "Calibrate and train on so many, drawn by the seed.", least=1,
        shown_default=shown("training_examples"),
    )  # fmt: skip
    storage: str = option(
        "int8",
        MACHINE,
        "How integers lie in the file: int8 (fast), signed (faster, with VNNI alone) or packed (small).",
        choices=STORAGES,
    )

    def keep_to_target(self) -> None:
        """As LearningOptions says: widths, scheme and scales of weights by the target's rules, the rest by its options."""
        if self.device_target is not None:
            take(self, (*OPTIONS, *RULED), self.device_target)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation_ranges != STATIC and self.activation_scheme == "symmetric-unsigned":
            raise UsageError(
                "activation-scheme symmetric-unsigned: needs --activation-ranges static, since an example's own range may be of"
                " either sign; choose symmetric for dynamic ranges"
            )
        read_overrides(self.override, self.exclude)
        _check_widths("bit-choices", self.bit_choices, smallest=0)
        if self.activation_bit_choices is not None:
            _check_widths("activation-bit-choices", self.activation_bit_choices, smallest=1)
        if not 0 <= self.embedding_bits <= MAXIMUM_BITS:
            raise UsageError(f"--embedding-bits {self.embedding_bits}: choose 0 (float) to {MAXIMUM_BITS}")

    @property
    def chosen_penalty(self) -> float:
        """lambda."""
        return PENALTY if self.penalty is None else self.penalty

    @property
    def chosen_rounding(self) -> str:
        """Of the weights."""
        return self.effort_defaults.rounding if self.rounding is None else self.rounding

    def chosen_rounding_examples(self, macs: int) -> int:
        """See rounding_examples; for a network of so many multiply-accumulates an example."""
        default = self.effort_defaults
        given = self.rounding_examples
        return default.examples(default.rounding_examples, macs) if given is None else given

    @property
    def chosen_training_examples(self) -> int | None:
        """None: all."""
        given = self.training_examples
        return self.effort_defaults.training_examples if given is None else given

    def training_settings(self, macs: int) -> TrainingSettings:
        """Those of widths have choices of their own."""
        return replace(
            super().training_settings(macs), width_choice=self.width_choice, learn_ranges=self.learned_ranges
        )

    @property
    def activation_choices(self) -> tuple[float, ...]:
        """The activations' widths."""
        if self.activation_bit_choices is not None:
            return self.activation_bit_choices
        return tuple(width for width in self.bit_choices if width >= 1)

    @property
    def overrides(self) -> tuple[Override, ...]:
        """Precision given for some nodes."""
        return read_overrides(self.override, self.exclude)

    @property
    def all_weight_choices(self) -> tuple[float, ...]:
        """Of any weight, those that overrides or the target allow included."""
        named = () if self.device_target is None else named_widths(self.device_target, "weights")
        return (
            *self.bit_choices,
            *(width for each in self.overrides for width in each.weights or ()),
            *named,
        )

    @property
    def all_activation_choices(self) -> tuple[float, ...]:
        """The same of any activation."""
        named = () if self.device_target is None else named_widths(self.device_target, "inputs", "outputs")
        return (
            *self.activation_choices,
            *(width for each in self.overrides for width in each.activations or ()),
            *named,
        )


def asked_budgets(
    weight_bits: float | None, activation_bits: float | None, options: AllocateOptions
) -> tuple[float | None, float | None]:
    """The budgets; where none is given, and no limit, and there is a target, the widest that it takes."""
    if options.target is None or options.max or weight_bits is not None or activation_bits is not None:
        return weight_bits, activation_bits
    widest = [max(choices, default=None) for choices in (options.bit_choices, options.activation_choices)]
    return widest[0], widest[1]


def as_float(budget: float | None) -> float | None:
    """4 and 4.0 are one budget, and make the same files."""
    return None if budget is None else float(budget)


def check_budgets(weight_bits: float | None, activation_bits: float | None, options: AllocateOptions) -> None:
    """Raise UsageError for budgets that no choice of widths keeps; says the smallest that can be reached.

    A budget above the widest choice is kept, but cannot be spent (see beyond_choices).
    """
    if weight_bits is None and activation_bits is None and not options.max:
        raise UsageError("give --weight-bits, --activation-bits or --max: there is nothing to quantize")
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
        check_is_number(name, budget)
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
        f"--{name} {budget:g}: cannot be spent; the widest choice is {max(choices):g}, and no tensor gets more"
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
    return not options.max and all(
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
        check_is_number(name, width)
        if not smallest <= width <= MAXIMUM_BITS:
            raise UsageError(f"--{name}: {width:g} is not a width from {smallest} to {MAXIMUM_BITS}")
        levels = levels_of(width)
        if levels in by_levels:
            raise UsageError(
                f"--{name}: {by_levels[levels]:g} and {width:g} are both {levels} levels; give each width once"
            )
        by_levels[levels] = width
