"""Types of command line options that click has not."""

import math
from typing import Any

import click
from click.shell_completion import CompletionItem

from mpq_onnx.registries import RESOURCES
from mpq_onnx.runs.limit_texts import amount_of

GATED_METRICS = (
    "top1",
    "top5",
    "accuracy",
    "auroc",
    "log_loss",
    "cosine",
    "spearman",
    "agreement",
    "sqnr",
    "bytes",
)
"""The first part of a name such as accuracy-matched."""


class FileName(click.ParamType):
    """A file, as a text; shells complete it."""

    name = "file"
    completed = "file"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Left to the shell."""
        return [CompletionItem(incomplete, type=self.completed)]


class FolderName(FileName):
    """The same for a folder."""

    name = completed = "dir"


class SpecText(FileName):
    """A data spec, kind:path?key=value; kinds and files are completed."""

    name = "spec"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The kinds that begin so, and files."""
        from mpq_onnx.datasets import KINDS

        kinds = [f"{kind}:" for kind in KINDS if kind.startswith(incomplete) and kind not in ALONE]
        kinds += [kind for kind in ALONE if kind.startswith(incomplete)]
        return [
            *(CompletionItem(kind) for kind in kinds if incomplete),
            *super().shell_complete(ctx, param, incomplete),
        ]


FILE, FOLDER, SPEC = FileName(), FolderName(), SpecText()
ALONE = ("digits", "random")
"""Kinds of data without a path."""


class NumberList(click.ParamType):
    """Numbers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return tuple(float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r}: write numbers with commas between them, such as 2,4,8", parameter, context)


class Gate(click.ParamType):
    """metric=value; with a cost table (option --costs, given eagerly), its columns too."""

    name = "metric=value"

    def __init__(self, metrics: tuple[str, ...] = GATED_METRICS) -> None:
        self.metrics = metrics

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        metric, equals, limit = value.partition("=")
        has_columns = context is not None and isinstance(context.params.get("costs"), str)
        if metric.partition("-")[0] not in self.metrics and not has_columns:
            self.fail(f"{metric!r}: choose one of {', '.join(self.metrics)}", parameter, context)
        is_resource = metric in RESOURCES or (has_columns and metric not in self.metrics)
        amount = amount_of(limit) if is_resource else None
        if amount is not None:
            return metric, amount
        try:
            if not equals or not math.isfinite(float(limit)):
                raise ValueError
        except ValueError:
            self.fail(f"{value!r}: write metric=value, such as top1=0.90", parameter, context)
        return metric, float(limit)
