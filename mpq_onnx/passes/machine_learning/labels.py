"""Labels: what classes are called. Text has no place in a network that is quantized: it becomes the number of the class."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.passes.machine_learning.builder import LearnedBuilder, Rewriter

NUMBER_LISTS = ("classlabels_ints", "classlabels_int64s")


def class_labels(node: ir.Node) -> list[int]:
    """The label of every class: its number where labels are text."""
    for name in NUMBER_LISTS:
        numbers = node.attributes.get_ints(name, [])
        if numbers:
            return [int(each) for each in numbers]
    return list(range(len(node.attributes.get_strings("classlabels_strings", []))))


def label_encoder(builder: LearnedBuilder) -> tuple[ir.Value]:
    """Whole numbers to numbers, by a table; numbers of classes to their names stay numbers."""
    data, attributes = builder.node.inputs[0], builder.node.attributes
    assert data is not None
    names = attributes.get_strings("values_strings", []) or attributes.get_strings("classes_strings", [])
    keys = [int(each) for each in attributes.get_ints("keys_int64s", [])]
    if data.dtype == ir.DataType.STRING or "keys_strings" in attributes:
        raise builder.refusal("it reads text; encode the labels outside")
    if names and keys in ([], list(range(len(names)))):
        return (builder.op("Identity", data),)
    for name, kind in (("values_int64s", np.int64), ("values_floats", np.float32)):
        values = attributes[name].value if name in attributes else ()
        if keys and len(values) == len(keys):
            default = (
                attributes[f"default_{name[7:-1]}"].value if f"default_{name[7:-1]}" in attributes else None
            )
            fallback = (-1 if kind is np.int64 else -0.0) if default is None else default
            return (_looked_up(builder, data, np.array(keys), np.array([*values, fallback], kind)),)
    raise builder.refusal(
        "only whole numbers as keys, and numbers or class names as values, have a standard form here"
    )


def _looked_up(builder: LearnedBuilder, data: ir.Value, keys: np.ndarray, values: np.ndarray) -> ir.Value:
    """values[index of the key], the last of `values` where no key fits."""
    columns = builder.op("Unsqueeze", data, builder.constant("last", np.array([-1])))
    equal = builder.op("Equal", columns, builder.constant("keys", keys.astype(np.int64)))
    matches = builder.op("Cast", equal, to=ir.DataType.INT64)
    last = builder.constant("axis", np.array([-1]))
    found = builder.op("ReduceMax", matches, last, keepdims=0)
    index = builder.op("ArgMax", matches, axis=-1, keepdims=0)
    missing = builder.constant("missing", np.array(len(keys), np.int64))
    known = builder.op("Cast", found, to=ir.DataType.BOOL)
    return builder.op(
        "Gather", builder.constant("values", values), builder.op("Where", known, index, missing), axis=0
    )


OPS: dict[str, Rewriter] = {"LabelEncoder": label_encoder}
