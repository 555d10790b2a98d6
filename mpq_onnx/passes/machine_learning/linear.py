"""LinearClassifier and LinearRegressor: a Gemm, then what turns scores into probabilities."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.passes.machine_learning.builder import LearnedBuilder, Rewriter
from mpq_onnx.passes.machine_learning.labels import class_labels

NONE = "NONE"
OF_SEVERAL = ("SOFTMAX", "SOFTMAX_ZERO")
"""Transforms that onnxruntime leaves out where there is one column of scores."""
NEAR_ZERO = 1e-7
"""Scores below it count as zero for SOFTMAX_ZERO."""


def linear_classifier(builder: LearnedBuilder) -> tuple[ir.Value, ir.Value]:
    """(labels [rows], scores [rows, classes]); one column of scores for two classes becomes two."""
    intercepts = builder.floats("intercepts")
    labels = class_labels(builder.node)
    coefficients = builder.floats("coefficients")
    if coefficients is None:
        raise builder.refusal("it has no coefficients")
    columns = len(intercepts) if intercepts is not None else len(labels)
    scores = _gemm(builder, coefficients, intercepts, columns)
    transform = builder.node.attributes.get_string("post_transform", NONE)
    if columns > 1:
        if len(labels) != columns:
            raise builder.refusal(f"it has {columns} classes and {len(labels)} labels")
        winners = builder.op("ArgMax", scores, axis=1, keepdims=0)
        return _label(builder, winners, labels), _transformed(builder, scores, transform)
    if len(labels) != 2:
        raise builder.refusal(f"it has one column of scores and {len(labels)} labels")
    zero = builder.constant("zero", np.zeros((), np.float32))
    flat = builder.op("Reshape", scores, builder.constant("flat", np.array([-1])))
    winners = builder.op("Cast", builder.op("Greater", flat, zero), to=ir.DataType.INT64)
    second = _transformed(builder, scores, NONE if transform in OF_SEVERAL else transform)
    first = builder.op("Sub", builder.constant("one", np.ones((), np.float32)), second)
    return _label(builder, winners, labels), builder.op("Concat", first, second, axis=1)


def linear_regressor(builder: LearnedBuilder) -> tuple[ir.Value]:
    """Predictions [rows, targets]; onnxruntime transforms no single target."""
    targets = builder.node.attributes.get_int("targets", 1)
    coefficients = builder.floats("coefficients")
    if coefficients is None:
        raise builder.refusal("it has no coefficients")
    predictions = _gemm(builder, coefficients, builder.floats("intercepts"), targets)
    transform = builder.node.attributes.get_string("post_transform", NONE)
    return (_transformed(builder, predictions, transform if targets > 1 else NONE),)


def _gemm(
    builder: LearnedBuilder, coefficients: np.ndarray, intercepts: np.ndarray | None, rows: int
) -> ir.Value:
    """Scores [examples, rows]."""
    operands = [builder.rows(), builder.constant("weight", coefficients.reshape(rows, -1))]
    if intercepts is not None:
        operands.append(builder.constant("bias", intercepts))
    return builder.op("Gemm", *operands, transB=1)


def _transformed(builder: LearnedBuilder, scores: ir.Value, transform: str) -> ir.Value:
    if transform == NONE:
        return scores
    if transform == "LOGISTIC":
        return builder.op("Sigmoid", scores)
    if transform == "SOFTMAX":
        return builder.op("Softmax", scores, axis=1)
    if transform == "SOFTMAX_ZERO":
        return _softmax_of_others(builder, scores)
    raise builder.refusal(
        f"post_transform {transform} has no standard form here; NONE, LOGISTIC and SOFTMAX have"
    )


def _softmax_of_others(builder: LearnedBuilder, scores: ir.Value) -> ir.Value:
    """Softmax over the scores that are not zero; the zeros stay."""
    size = builder.op("Abs", scores)
    counts = builder.op("Greater", size, builder.constant("near_zero", np.array(NEAR_ZERO, np.float32)))
    lowest = builder.constant("lowest", np.array(np.finfo(np.float32).min, np.float32))
    zero = builder.constant("zero", np.zeros((), np.float32))
    return builder.op(
        "Where", counts, builder.op("Softmax", builder.op("Where", counts, scores, lowest), axis=1), zero
    )


def _label(builder: LearnedBuilder, winners: ir.Value, labels: list[int]) -> ir.Value:
    if labels == list(range(len(labels))):
        return winners
    return builder.op("Gather", builder.constant("labels", np.array(labels, np.int64)), winners, axis=0)


OPS: dict[str, Rewriter] = {"LinearClassifier": linear_classifier, "LinearRegressor": linear_regressor}
