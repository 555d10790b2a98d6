"""Options that several commands share: their names, defaults and help stand here once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from mpq_onnx.option_types import NumberList

Command = Callable[..., Any]


class HeadedOption(click.Option):
    """An option under a heading of its command's help (see HeadedCommand)."""

    def __init__(self, *arguments: Any, heading: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.heading = heading


class HeadedCommand(click.Command):
    """Its help lists options under their headings; those that have none come first."""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        by_heading: dict[str, list[tuple[str, str]]] = {"Options": []}
        for each in self.get_params(context):
            record = None if isinstance(each, click.Argument) else each.get_help_record(context)
            heading = each.heading if isinstance(each, HeadedOption) else "Options"
            if record is not None:
                by_heading.setdefault(heading, []).append(record)
        for heading, records in by_heading.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def _under(heading: str) -> Callable[..., Callable[[Command], Command]]:
    """click.option, for options under a heading."""
    return partial(click.option, cls=HeadedOption, heading=heading)


def _configure(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    """Take the defaults of all other options from a file."""
    if path is None:
        return
    from mpq_onnx.configuration import check_names, read_configuration

    found = read_configuration(path)
    names = {
        text.lstrip("-").replace("-", "_"): each
        for each in context.command.params
        for text in (str(each.name), *each.opts)
    }
    check_names(found, names.keys() - {"config"}, f"--config {path}")
    context.default_map = {
        str(names[name].name): tuple(value)
        if isinstance(value, list)
        else (value,)
        if names[name].multiple
        else value
        for name, value in found.items()
    }


config_option = click.option(
    "--config",
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_configure,
    help="YAML, TOML or JSON with any of these options; the command line overrides it.",
)
OBSERVER_HELP = "minmax, ema, percentile, ema-percentile, mse, aciq-laplace, aciq-gauss or entropy."
PLACEMENT_HELP = "Quantized activations: all, before-activation, gemm or relu (docs/placement.md)."
SCHEME_HELP = "asymmetric, symmetric, symmetric-narrow or symmetric-unsigned."

method_option = _under("Method")
noise_option = _under("Noise")
quantizer_option = _under("Quantizers")
rounding_option = _under("Rounding")
training_option = _under("Training")
machine_option = _under("Data, files, machine")

placement_option = quantizer_option("--placement", default="all", show_default=True, help=PLACEMENT_HELP)
activation_scheme_option = quantizer_option(
    "--activation-scheme", default="asymmetric", show_default=True, help=SCHEME_HELP
)
equalization_option = quantizer_option(
    "--equalization",
    default="depthwise",
    show_default=True,
    help="none, depthwise, cross-layer or activation-channels.",
)
device_option = machine_option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
data_option = click.option(
    "--data", required=True, metavar="SPEC", help="Data, kind:path?key=value (docs/data.md)."
)

ALLOCATION_OPTIONS = (
    method_option(
        "--method",
        default="refined",
        show_default=True,
        help="uniform, water-filling (with --noise: closed-form), gradient or refined.",
    ),
    method_option(
        "--granularity",
        default="layer",
        show_default=True,
        help="A weight width per layer or per output channel.",
    ),
    method_option(
        "--bit-choices",
        type=NumberList(),
        default="2,3,4,5,6,7,8",
        show_default=True,
        help="Widths to choose from; fractions are fine.",
    ),
    method_option(
        "--activation-bit-choices", type=NumberList(), help="The same for activations, where they differ."
    ),
    method_option(
        "--activation-budget",
        default="mean",
        show_default=True,
        help="--activation-bits bounds the mean, or the max: memory of the largest tensor.",
    ),
    noise_option(
        "--noise",
        multiple=True,
        help="thermal, shot or weight: energy per MAC under this noise instead of bits. Repeatable.",
    ),
    noise_option("--per-channel", is_flag=True, help="With --noise: an energy per output channel."),
    noise_option(
        "--energy-levels", default="any", show_default=True, help="any, or repeats (whole numbers)."
    ),
    noise_option(
        "--compat",
        default="none",
        show_default=True,
        help="garg2021: fan-in of grouped convolutions as in the code of arXiv 2102.06365, for comparisons.",
    ),
    noise_option("--repeats", type=int, help="With --noise: passes over the validation data.  [default: 4]"),
    quantizer_option(
        "--observer", default="mse", show_default=True, help=f"Activation ranges: {OBSERVER_HELP}"
    ),
    activation_scheme_option,
    quantizer_option(
        "--activation-ranges",
        default="static",
        show_default=True,
        help="static, or dynamic: of each example.",
    ),
    quantizer_option(
        "--weight-observer", default="mse", show_default=True, help="Weight ranges: minmax or mse."
    ),
    quantizer_option("--weight-scheme", default="asymmetric", show_default=True, help=SCHEME_HELP),
    quantizer_option(
        "--weight-scales",
        default="channel",
        show_default=True,
        help="A scale per output channel, or per tensor.",
    ),
    equalization_option,
    placement_option,
    quantizer_option(
        "--first-last",
        default="include",
        show_default=True,
        help="First and last layer: include, 8 (bits, outside the budget) or float.",
    ),
    quantizer_option(
        "--embedding-bits",
        default=8,
        show_default=True,
        help="Of embedding tables, outside the budget; 0: float.",
    ),
    quantizer_option("--bias", default="int32", show_default=True, help="int32 or float."),
    rounding_option("--rounding", default="adaptive", show_default=True, help="nearest or adaptive."),
    rounding_option(
        "--bias-correction/--no-bias-correction",
        default=True,
        show_default=True,
        help="Shift biases to keep every channel's mean.",
    ),
    rounding_option(
        "--variance-correction/--no-variance-correction",
        default=False,
        show_default=True,
        help="Scale rounded weights back to their variance.",
    ),
    rounding_option(
        "--rounding-examples",
        default=1024,
        show_default=True,
        help="Examples for rounding and bias correction.",
    ),
    training_option(
        "--steps", default=150, show_default=True, help="Training steps of refined and gradient."
    ),
    training_option("--batch-size", default=32, show_default=True, help="Examples a step."),
    training_option("--learning-rate", default=0.01, show_default=True, help="Of log2 of the widths."),
    training_option(
        "--penalty",
        type=float,
        help="Weight of the budget in the loss.  [default: 2; 8 for thermal and weight noise]",
    ),
    training_option(
        "--labels",
        default="auto",
        show_default=True,
        help="To train by: real, generated (by the float model), distilled; auto: real or distilled.",
    ),
    training_option(
        "--width-choice", default="nearest", show_default=True, help="While training: nearest or stochastic."
    ),
    training_option(
        "--learned-ranges/--no-learned-ranges",
        default=False,
        show_default=True,
        help="Learn clipping ranges beside the widths.",
    ),
    machine_option("--calibration", metavar="FILE", help="Reuse a calibration.json of this model."),
    machine_option(
        "--validation",
        metavar="SPEC",
        help="Data to choose by; default: a quarter of --data, drawn by --seed.",
    ),
    machine_option(
        "--training-examples",
        type=int,
        help="Calibrate and train on so many, drawn by the seed.  [default: all]",
    ),
    machine_option("--storage", default="int8", show_default=True, help="int8 (fast) or packed (small)."),
    machine_option("--seed", default=0, show_default=True, help="Of all that is drawn."),
    device_option,
)


def allocation_options(command: Command) -> Command:
    """All that can be said of an allocation, beside its budgets and where it goes."""
    for option in reversed(ALLOCATION_OPTIONS):
        command = option(command)
    return command
