"""Types of command line options that click has not."""

import math
from typing import Any

import click

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
