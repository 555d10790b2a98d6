"""Features picked and put together: ArrayFeatureExtractor, FeatureVectorizer, OneHotEncoder."""

import numpy as np
import onnx_ir as ir

from mpq_onnx.passes.machine_learning.builder import LearnedBuilder, Rewriter


def array_feature_extractor(builder: LearnedBuilder) -> tuple[ir.Value]:
    """The elements at the given places of the last axis; of a vector, as one row."""
    data, places = builder.node.inputs[:2]
    assert data is not None and places is not None
    flat = builder.op("Reshape", places, builder.constant("flat", np.array([-1])))
    is_vector = data.shape is not None and len(data.shape) == 1
    if data.dtype == ir.DataType.STRING:  # names of classes: their numbers stay
        picked, is_vector = flat, True
    elif _counts_up(data):
        picked = builder.op("Cast", flat, to=data.dtype)
    else:
        picked = builder.op("Gather", data, flat, axis=-1)
    if not is_vector or _is_flattened(builder.node.outputs[0]):
        return (picked,)
    return (builder.op("Unsqueeze", picked, builder.constant("axis", np.array([0]))),)


def _counts_up(data: ir.Value) -> bool:
    """True for the constant 0, 1, 2, ..., of which every element is its place."""
    if data.const_value is None or data.dtype is None or not data.dtype.is_integer():
        return False
    array = data.const_value.numpy()
    return array.ndim == 1 and bool((array == np.arange(len(array))).all())


def _is_flattened(value: ir.Value) -> bool:
    """True where all readers make a vector of `value`."""
    targets = [use.node.inputs[1] if use.node.op_type == "Reshape" else None for use in value.uses()]
    known = [
        None if each is None or each.const_value is None else each.const_value.numpy().tolist()
        for each in targets
    ]
    return bool(known) and not value.is_graph_output() and all(each == [-1] for each in known)


def feature_vectorizer(builder: LearnedBuilder) -> tuple[ir.Value]:
    """All inputs side by side."""
    sizes = builder.node.attributes.get_ints("inputdimensions", [])
    for value, size in zip(builder.node.inputs, sizes, strict=False):
        shape = value.shape if value is not None else None
        if shape is None or len(shape) != 2 or shape[1] != size:
            raise builder.refusal(
                "inputs that are cut or filled up to inputdimensions have no standard form here"
            )
    return (
        builder.op("Concat", *(builder.input(index) for index in range(len(builder.node.inputs))), axis=1),
    )


def one_hot_encoder(builder: LearnedBuilder) -> tuple[ir.Value]:
    """1 at the category that a whole number is, 0 elsewhere."""
    categories = builder.node.attributes.get_ints("cats_int64s", [])
    data = builder.node.inputs[0]
    assert data is not None
    if not categories or data.dtype == ir.DataType.STRING:
        raise builder.refusal("categories that are text have no standard form; encode them outside")
    whole = data if data.dtype == ir.DataType.INT64 else builder.op("Cast", data, to=ir.DataType.INT64)
    column = builder.op("Unsqueeze", whole, builder.constant("last", np.array([-1])))
    equal = builder.op("Equal", column, builder.constant("categories", np.array(categories, np.int64)))
    return (builder.op("Cast", equal, to=ir.DataType.FLOAT),)


OPS: dict[str, Rewriter] = {
    "ArrayFeatureExtractor": array_feature_extractor,
    "FeatureVectorizer": feature_vectorizer,
    "OneHotEncoder": one_hot_encoder,
}
