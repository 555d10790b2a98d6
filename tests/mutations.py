"""Broken files, made from whole ones: seeded changes of ONNX models, of their bytes, and of JSON documents."""

import contextlib
import copy
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAMES = ["", "a\nb", "ü\u202e漢", "x" * 5000, "../../etc/passwd", "images", "\x00", "%s{}'\""]
SIZES = [0, 1, -1, 2, 7, 2**31, 2**40, 2**62]
NUMBERS: list[Any] = [
    0,
    -1,
    1,
    2.5,
    16,
    17,
    1e308,
    float("nan"),
    float("inf"),
    "4",
    None,
    [],
    {},
    True,
    [4] * 8,
    10**30,
]
OPERATORS = [
    "Conv",
    "Gemm",
    "MatMul",
    "Add",
    "Reshape",
    "Loop",
    "If",
    "Range",
    "Expand",
    "Tile",
    "Nonsense",
    "",
    "Gather",
    "Cast",
]


def mutated_model(content: bytes, rng: random.Random) -> bytes:
    """A serialized model with one to three changes, in its structure or in its bytes."""
    if rng.random() < 0.25:
        return mutated_bytes(content, rng)
    model = onnx.load_model_from_string(content)
    for _ in range(rng.randint(1, 3)):
        with contextlib.suppress(Exception):  # what an earlier change broke may be too broken to change again
            rng.choice(MODEL_CHANGES)(model, rng)
    return model.SerializeToString()


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut off, doubled or thrown in."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0 and place < len(data):
            data[place] = rng.randrange(256)
        elif kind == 1:
            del data[place : place + rng.randint(1, 64)]
        elif kind == 2:
            data[place:place] = data[place : place + rng.randint(1, 64)]
        else:
            data[place:place] = rng.randbytes(rng.randint(1, 16))
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.2 else data)


def mutated_document(text: str, rng: random.Random) -> str:
    """A JSON document with one to three values replaced, removed, renamed or doubled; or text that is no JSON."""
    if rng.random() < 0.15:
        return mutated_bytes(text.encode(), rng).decode("utf-8", "replace")
    document = json.loads(text)
    for _ in range(rng.randint(1, 3)):
        holder = document
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = rng.choice(keys)
            inner = holder[key]
            if isinstance(inner, dict | list) and inner and rng.random() < 0.85:
                holder = inner
                continue
            _change_entry(holder, key, rng)
            break
    return json.dumps(document)


def _change_entry(holder: Any, key: Any, rng: random.Random) -> None:
    kind = rng.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice(NAMES)] = holder.pop(key)
    elif kind == 2 and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    else:
        holder[key] = copy.deepcopy(rng.choice([*NUMBERS, *NAMES]))


def _node(model: onnx.ModelProto, rng: random.Random) -> onnx.NodeProto | None:
    return rng.choice(list(model.graph.node)) if model.graph.node else None


def _initializer(model: onnx.ModelProto, rng: random.Random) -> onnx.TensorProto | None:
    return rng.choice(list(model.graph.initializer)) if model.graph.initializer else None


def _operator(model: onnx.ModelProto, rng: random.Random) -> None:
    if node := _node(model, rng):
        node.op_type = rng.choice(OPERATORS)


def _wiring(model: onnx.ModelProto, rng: random.Random) -> None:
    """An input becomes another tensor, maybe a later one: cycles and wrong shapes."""
    names = [name for node in model.graph.node for name in node.output] + [
        each.name for each in model.graph.initializer
    ]
    node = _node(model, rng)
    if node is not None and node.input and names:
        node.input[rng.randrange(len(node.input))] = rng.choice([*names, "dangling", ""])


def _names(model: onnx.ModelProto, rng: random.Random) -> None:
    """A tensor, node, input or output is renamed everywhere, or only where it is made."""
    old = rng.choice(
        [value.name for value in [*model.graph.input, *model.graph.output]]
        + [n.output[0] for n in model.graph.node if n.output]
        or [""]
    )
    new, everywhere = rng.choice(NAMES), rng.random() < 0.7
    for node in model.graph.node:
        if rng.random() < 0.1:
            node.name = new
        for values in (node.output, node.input) if everywhere else (node.output,):
            for index, name in enumerate(values):
                if name == old:
                    values[index] = new
    if everywhere:
        for value in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
            if value.name == old:
                value.name = new


def _drop_or_double(model: onnx.ModelProto, rng: random.Random) -> None:
    field = rng.choice(
        [
            model.graph.node,
            model.graph.initializer,
            model.graph.input,
            model.graph.output,
            model.opset_import,
            model.functions,
        ]
    )
    if len(field):
        index = rng.randrange(len(field))
        if rng.random() < 0.5:
            del field[index]
        else:
            field.append(field[index])


def _shape(model: onnx.ModelProto, rng: random.Random) -> None:
    value = rng.choice([*model.graph.input, *model.graph.output, *model.graph.value_info])
    dimensions = value.type.tensor_type.shape.dim
    if not dimensions or rng.random() < 0.1:
        value.type.tensor_type.ClearField("shape")
    else:
        dimension = rng.choice(list(dimensions))
        dimension.dim_value = rng.choice(SIZES)
        if rng.random() < 0.3:
            dimension.dim_param = rng.choice(NAMES)


def _element_type(model: onnx.ModelProto, rng: random.Random) -> None:
    kind = rng.choice([0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 16, 17, 21, 22, 99])
    if rng.random() < 0.5 and (tensor := _initializer(model, rng)):
        tensor.data_type = kind
    else:
        rng.choice([*model.graph.input, *model.graph.output]).type.tensor_type.elem_type = kind


def _tensor_size(model: onnx.ModelProto, rng: random.Random) -> None:
    """A tensor claims other dimensions than its data has, up to exabytes."""
    tensor = _initializer(model, rng)
    if tensor is not None:
        if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(SIZES)
        else:
            tensor.dims.append(rng.choice(SIZES))


def _tensor_values(model: onnx.ModelProto, rng: random.Random) -> None:
    """Weights become NaN, infinite, zero, constant or huge."""
    tensor = _initializer(model, rng)
    if tensor is None or tensor.data_type not in (
        TensorProto.FLOAT,
        TensorProto.INT64,
        TensorProto.INT8,
        TensorProto.UINT8,
    ):
        return
    array = numpy_helper.to_array(tensor).copy()
    if array.dtype.kind == "f":
        array[...] = rng.choice([np.nan, np.inf, 0.0, 1.0, 3e38, -1e-40])
    else:
        array[...] = rng.choice([0, 1, 127, *([-1, 2**40, -(2**62)] if array.dtype == np.int64 else [])])
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _external_data(model: onnx.ModelProto, rng: random.Random) -> None:
    """A tensor's data is said to lie in another file."""
    tensor = _initializer(model, rng)
    if tensor is not None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        del tensor.external_data[:]
        places = ["../secret", "/etc/passwd", "weights.bin", "", "a/../../b", "C:\\x", "."]
        for key, value in (
            ("location", rng.choice(places)),
            ("offset", rng.choice(["0", "-1", "9" * 30, "x"])),
            ("length", rng.choice(["4", "-1", "9" * 18])),
        ):
            if rng.random() < 0.85:
                tensor.external_data.add(key=key, value=value)


def _attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    if not nodes:
        return
    node = rng.choice(nodes)
    index = rng.randrange(len(node.attribute))
    name = node.attribute[index].name
    if rng.random() < 0.3:
        del node.attribute[index]
        return
    value = rng.choice(
        [
            0,
            -1,
            2**40,
            1.5,
            float("nan"),
            "text",
            [0, 0],
            [-1] * 4,
            [2**33, 2**33],
            [1.0, 2.0],
            ["a"],
            [1] * 50,
        ]
    )
    node.attribute[index].CopyFrom(helper.make_attribute(name, value))


def _versions(model: onnx.ModelProto, rng: random.Random) -> None:
    if rng.random() < 0.3:
        model.ir_version = rng.choice([0, 3, 9, 13, 99])
    elif model.opset_import:
        rng.choice(list(model.opset_import)).version = rng.choice([0, 1, 6, 9, 13, 21, 26, 27, 10**6])


def _metadata(model: onnx.ModelProto, rng: random.Random) -> None:
    """Our own metadata is broken, or other text is said to be ours."""
    keys = [
        "mpq_onnx.allocation",
        "mpq_onnx.energy",
        "mpq_onnx.provenance",
        "mpq_onnx.preprocessing",
        "mpq_onnx.task",
        "mpq_onnx.labels",
    ]
    if model.metadata_props and rng.random() < 0.6:
        entry = rng.choice(list(model.metadata_props))
        try:
            entry.value = mutated_document(entry.value, rng)
        except ValueError:  # not JSON
            entry.value = rng.choice(NAMES)
    else:
        model.metadata_props.add(
            key=rng.choice(keys), value=rng.choice(["{}", "[]", "null", "{", "layout=nhwc", *NAMES])
        )


MODEL_CHANGES: list[Callable[[onnx.ModelProto, random.Random], None]] = [
    _operator, _wiring, _names, _drop_or_double, _shape, _element_type, _tensor_size, _tensor_values, _external_data,
    _attribute, _versions, _metadata,
]  # fmt: skip
