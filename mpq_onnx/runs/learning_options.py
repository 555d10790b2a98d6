"""Options that an allocation of bits and one of energies have in common."""

import functools
from dataclasses import dataclass, fields

from mpq_onnx.documents.target_record import TargetRecord
from mpq_onnx.precision.training_settings import TrainingSettings
from mpq_onnx.registries import DEVICES, METHODS, TARGETS
from mpq_onnx.runs.arguments import LARGEST_SEED
from mpq_onnx.runs.declared import MACHINE, METHOD, TRAINING, check_options, option
from mpq_onnx.runs.efforts import EFFORTS, NORMAL, Effort, shown
from mpq_onnx.runs.limit_texts import read_limits
from mpq_onnx.targets.description import Target
from mpq_onnx.targets.loading import load_target

FEWEST_STEPS = 8
"""An effort that has fewer for a network does not train it: levels would hardly have moved."""


@dataclass(frozen=True, kw_only=True)
class LearningOptions:
    """How levels are found; where there is noise, the energies."""

    effort: str = option(
        NORMAL, METHOD, "How much time goes into a result: the defaults of the options that cost it. quick is the closed form,"
        " in seconds.", choices=EFFORTS,
    )  # fmt: skip
    method: str | None = option(
        None, METHOD, "How levels are found; water-filling and closed-form are one.",
        choices=METHODS, shown_default=shown("method"),
    )  # fmt: skip
    max: tuple[str, ...] = option(
        (), METHOD, "The most of what the device counts: weight_bytes, activation_bytes (peak), bops, or a column of --costs."
        " Repeatable.", metavar="RESOURCE=AMOUNT",
    )  # fmt: skip
    costs: str | None = option(
        None, METHOD, "Cost table: what every node takes at every pair of widths (docs/targets.md).",
        metavar="FILE", shown_default="none",
    )  # fmt: skip
    steps: int | None = option(
        None, TRAINING, "Training steps of refined and gradient.", least=1, shown_default=shown("steps")
    )
    batch_size: int | None = option(
        None, TRAINING, "Examples a step.", least=1, shown_default=shown("batch_size")
    )
    learning_rate: float | None = option(
        None, TRAINING, "Of the logarithms of the levels.", above=0, shown_default=shown("learning_rate")
    )
    penalty: float | None = option(
        None, TRAINING, "Weight of the budget in the loss.", above=0,
        shown_default="2; 8 for thermal and weight noise",
    )  # fmt: skip
    labels: str = option(
        "auto", TRAINING, "Outputs are held to real labels, generated ones (the float model's) or distilled (its outputs);"
        " auto: real where there are any, else distilled.", choices=TARGETS,
    )  # fmt: skip
    target: str | None = option(
        None, MACHINE, "The device: a name that `mpq-onnx targets` lists, or a file (docs/targets.md).", metavar="NAME|FILE"
    )  # fmt: skip
    seed: int = option(0, MACHINE, "Of all that is drawn.", least=0, most=LARGEST_SEED)
    device: str = option(
        "auto", MACHINE, "Where torch and onnxruntime compute: auto is the GPU where there is one, onnxruntime alone on the CPU"
        " (a NOTE says so) where it has no CUDA provider.", choices=DEVICES,
    )  # fmt: skip

    def __post_init__(self) -> None:
        self.keep_to_target()
        check_options(self)
        read_limits(self.max)

    @property
    def limits(self) -> dict[str, float]:
        """The most of each resource."""
        return read_limits(self.max)

    def keep_to_target(self) -> None:
        """Take what the target leaves no choice in; raise UsageError for what it forbids."""

    @functools.cached_property
    def device_target(self) -> Target | None:
        """The device, as its file said when these options were made."""
        return None if self.target is None else load_target(self.target)

    @property
    def target_record(self) -> TargetRecord | None:
        """What documents keep of it."""
        return None if self.device_target is None else self.device_target.record

    @property
    def effort_defaults(self) -> Effort:
        """What the options that were not given are."""
        return EFFORTS[self.effort]

    @property
    def chosen_method(self) -> str:
        """The one that was given, else that of the effort; so are the others whose names begin like this."""
        return self.effort_defaults.method if self.method is None else self.method

    @property
    def chosen_penalty(self) -> float:
        """lambda: the one that was given, else that of what is allocated."""
        raise NotImplementedError

    def training_settings(self, macs: int) -> TrainingSettings:
        """Of the training loop, for a network of so many multiply-accumulates an example."""
        default = self.effort_defaults
        batch_size = default.batch_size if self.batch_size is None else self.batch_size
        steps = -(-default.examples(default.steps * batch_size, macs) // batch_size)
        return TrainingSettings(
            steps if self.steps is None else self.steps,
            batch_size,
            default.learning_rate if self.learning_rate is None else self.learning_rate,
            self.chosen_penalty,
            self.seed,
            self.labels,
            measures_closed_form=default.measures_closed_form,
            corrects_costs=self.steps is not None or steps >= FEWEST_STEPS,
            measured_examples=default.measured_examples(macs),
        )

    def cost_examples(self, macs: int) -> int:
        """What costs are measured on, for such a network."""
        return self.effort_defaults.examples(self.effort_defaults.cost_examples, macs)


LEARNING_OPTIONS = tuple(field.name for field in fields(LearningOptions))
"""Names of those that mean the energies where there is noise."""
