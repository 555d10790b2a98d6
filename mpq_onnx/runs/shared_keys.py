"""What parts of an allocation depend on: allocations that have them in common share the work."""

from mpq_onnx.runs.options import AllocateOptions


def calibration_choices(options: AllocateOptions) -> tuple[object, ...]:
    """What a calibration depends on beside model and data."""
    return (
        options.observer, options.placement, options.activation_scheme, options.equalization, options.device,
        *drawn(options),
    )  # fmt: skip


def drawn(options: AllocateOptions) -> tuple[object, ...]:
    """What the examples to train on depend on."""
    return options.chosen_training_examples, options.seed


def problem_key(options: AllocateOptions) -> tuple[object, ...]:
    """What grids and costs depend on, beside the calibration's own."""
    return (
        options.observer, options.activation_scheme, options.weight_observer, options.weight_scheme,
        options.weight_scales, options.placement, options.first_last, options.embedding_bits, options.granularity,
        options.override, options.exclude, options.target_record,
        tuple(options.bit_choices), tuple(options.activation_choices), options.seed, options.effort_defaults.cost_examples,
    )  # fmt: skip
