"""Terminal tables."""

from collections.abc import Iterable, Mapping

import numpy as np
from tabulate import tabulate

from mpq_onnx.allocation import Allocation, NodePrecision
from mpq_onnx.runtime.comparison import NodeNoise
from mpq_onnx.runtime.evaluation import Evaluation
from mpq_onnx.runtime.metrics import Difference, Proportion

MISSING = "-"


def node_table(allocation: Allocation, noises: Iterable[NodeNoise]) -> str:
    """A line a node: widths, sizes, and how well its output survives."""
    sqnr = {noise.tensor: noise.sqnr for noise in noises}
    by_node = {noise.node: noise.sqnr for noise in noises}
    rows = [
        [
            node.node,
            node.op_type,
            weight_width(node),
            MISSING if node.activation_bits is None else f"{node.activation_bits:g}",
            node.weight_elements or MISSING,
            node.macs or MISSING,
            _decibels(sqnr.get(node.activation or "", by_node.get(node.node))),
        ]
        for node in allocation.nodes
    ]
    headers = ["node", "op", "weight bits", "activation bits", "weights", "MACs", "SQNR dB"]
    align = ("left", "left", *["right"] * 5)
    return tabulate(rows, headers, disable_numparse=True, colalign=align)


def weight_width(node: NodePrecision) -> str:
    """`4`, or `3.4 (2-6)` for widths that differ by channel."""
    if node.weight is None:
        return MISSING
    if node.weight_bits is None:
        return "float"
    if isinstance(node.weight_bits, tuple) and len(set(node.weight_bits)) > 1:
        return f"{np.mean(node.weight_bits):.2f} ({min(node.weight_bits):g}-{max(node.weight_bits):g})"
    return f"{np.mean(node.weight_bits):g}"


def noise_table(noises: Iterable[NodeNoise]) -> str:
    """A line a tensor."""
    rows = [[noise.node, noise.op_type, noise.tensor, _decibels(noise.sqnr)] for noise in noises]
    return tabulate(
        rows,
        ["node", "op", "tensor", "SQNR dB"],
        disable_numparse=True,
        colalign=("left", "left", "left", "right"),
    )


def result_table(rows: Mapping[str, tuple[Allocation | None, Evaluation]]) -> str:
    """A line a model: mean widths and what it reaches; the float baseline's own line comes first where it was measured."""
    lines: list[list[str]] = []
    for name, (allocation, evaluation) in rows.items():
        comparison = evaluation.comparison
        if comparison is not None and comparison.metrics and not lines:
            lines.append(
                [
                    "float",
                    "32",
                    "32",
                    *(_metric(comparison.metrics.get(k)) for k in ("top1", "top5")),
                    *[MISSING] * 3,
                ]
            )
        lines.append(
            [
                name,
                bits_text(allocation.mean_weight_bits if allocation else None),
                bits_text(allocation.mean_activation_bits if allocation else None),
                *(_metric(evaluation.metrics.get(key)) for key in ("top1", "top5")),
                _difference(comparison.top1_difference if comparison else None),
                _metric(comparison.agreement if comparison else None),
                _decibels(comparison.output_sqnr if comparison else None),
            ]
        )
    headers = [
        "",
        "weight bits",
        "activation bits",
        "top-1 %",
        "top-5 %",
        "difference",
        "agreement %",
        "SQNR dB",
    ]
    return tabulate(lines, headers, disable_numparse=True, colalign=("left", *["right"] * 7))


def bits_text(bits: float | None) -> str:
    """A mean width; float where there is none."""
    return "float" if bits is None else f"{bits:.4f}".rstrip("0").rstrip(".")


def _metric(share: Proportion | None) -> str:
    if share is None:
        return MISSING
    return f"{100 * share.value:.2f} [{100 * share.low:.2f}, {100 * share.high:.2f}]"


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return MISSING
    margin = (difference.high - difference.low) / 2
    return f"{100 * difference.value:+.2f} ± {100 * margin:.2f}"


def _decibels(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"
