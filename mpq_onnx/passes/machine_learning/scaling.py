"""Features brought to scale: Scaler, Normalizer, Binarizer, Imputer."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.passes.machine_learning.builder import LearnedBuilder, Rewriter


def scaler(builder: LearnedBuilder) -> tuple[ir.Value]:
    """(x - offset) * scale, of each feature."""
    value = builder.input()
    offset, scale = builder.floats("offset"), builder.floats("scale")
    if offset is not None:
        value = builder.op("Sub", value, builder.constant("offset", offset))
    if scale is not None:
        value = builder.op("Mul", value, builder.constant("scale", scale))
    return (value if offset is not None or scale is not None else builder.op("Identity", value),)


def normalizer(builder: LearnedBuilder) -> tuple[ir.Value]:
    """Each row divided by its norm (its largest value for MAX); rows of norm 0 stay."""
    norm = builder.node.attributes.get_string("norm", "MAX")
    value = builder.rows()
    producer = value.producer()
    if norm == "L1" and producer is not None and producer.op_type == "Softmax":
        return (
            builder.op("Identity", value),
        )  # probabilities, as every linear classifier of scikit-learn ends
    if norm in ("L1", "L2"):
        return (builder.op("LpNormalization", value, axis=-1, p=int(norm[1])),)
    largest = builder.op("ReduceMax", value, builder.constant("axis", np.array([-1])), keepdims=1)
    one = builder.constant("one", np.ones((), np.float32))
    is_zero = builder.op("Equal", largest, builder.constant("zero", np.zeros((), np.float32)))
    return (builder.op("Div", value, builder.op("Where", is_zero, one, largest)),)


def binarizer(builder: LearnedBuilder) -> tuple[ir.Value]:
    """1 above the threshold, else 0."""
    threshold = np.array(builder.node.attributes.get_float("threshold", 0.0), np.float32)
    above = builder.op("Greater", builder.input(), builder.constant("threshold", threshold))
    return (builder.op("Cast", above, to=ir.DataType.FLOAT),)


def imputer(builder: LearnedBuilder) -> tuple[ir.Value]:
    """Another value in place of the one that means missing."""
    attributes = builder.node.attributes
    data = builder.node.inputs[0]
    assert data is not None
    whole = attributes.get_ints("imputed_value_int64s", [])
    if whole:
        missing: np.ndarray = np.array(attributes.get_int("replaced_value_int64", 0), np.int64)
        values: np.ndarray = np.array(whole, np.int64)
    else:
        found = builder.floats("imputed_value_floats")
        if found is None:
            raise builder.refusal("it has no values to impute")
        missing, values = np.array(attributes.get_float("replaced_value_float", 0.0), np.float32), found
        data = builder.input()
    is_missing = (
        builder.op("IsNaN", data)
        if np.isnan(missing)
        else builder.op("Equal", data, builder.constant("missing", missing))
    )
    return (builder.op("Where", is_missing, builder.constant("values", values), data),)


OPS: dict[str, Rewriter] = {
    "Scaler": scaler,
    "Normalizer": normalizer,
    "Binarizer": binarizer,
    "Imputer": imputer,
}
