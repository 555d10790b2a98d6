"""What commands print of their results."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import click


def fields(result: Any) -> dict[str, Any]:
    """A result's own fields, of which another may stand beside them."""
    return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}


def print_json(result: Any) -> None:
    from mpq_onnx.report.as_json import to_json

    click.echo(to_json(result))


def print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(f"NOTE: {note}")


def print_edited(path: str, allocation: Any) -> None:
    """Say where the entries are not those that the method in the document had made."""
    from mpq_onnx.documents.precision_document import EDITED

    if allocation.settings.method == EDITED:
        click.echo(f"NOTE: {path} was edited by hand after it was written; the file's method is {EDITED!r}")


def print_check(check: Any) -> None:
    outputs = ""
    if check.optimized_sqnr is not None:
        outputs = (
            f" outputs {check.optimized_sqnr:.1f} dB optimized, {check.unoptimized_sqnr:.1f} dB unoptimized,"
        )
    click.echo(
        f"onnxruntime against the mirror, {check.examples} examples: every node agrees;{outputs}"
        f" {100 * check.same_predictions:.1f} % same predictions"
    )


def print_parts(evaluation: Any) -> None:
    """A line an output and part, where there are several."""
    from mpq_onnx.report.tables import part_table

    parts = evaluation.comparison.parts if evaluation.comparison is not None else ()
    if len(parts) > 1:
        click.echo(f"\n{part_table(parts)}")


def print_limits(limits: Mapping[str, float], chosen: Any, uniform: Any) -> None:
    """What is taken of each limited resource, and by uniform."""
    for name, most in limits.items():
        click.echo(
            f"{name}: {chosen.resources[name]:.6g} of {most:.6g} (uniform {uniform.resources[name]:.6g})"
        )


def stored_text(path: str, size: int, storage: str, allocation: Any) -> str:
    return (
        f"{path}: {size:,} bytes, weights stored as {storage}; {allocation.weight_bytes:,} bytes at their widths,"
        f" {allocation.bit_operations / 1e9:.4g} GBOPs an example"
    )
