"""What an operator does with its operands: pass values on, compute with them, or read indices, shapes or conditions."""

from collections.abc import Callable

import onnx_ir as ir

STANDARD_DOMAINS = ("", "ai.onnx")
OWN_DOMAINS = "mpq_onnx."
"""What the domains of this project's functions begin with."""
DYNAMIC_DOMAIN = "mpq_onnx.quantize"
DYNAMIC_ASYMMETRIC, DYNAMIC_SYMMETRIC = "DynamicAsymmetric", "DynamicSymmetric"
"""Quantizers that take their range from each example (see ops.dynamic_quantize)."""

PASS_THROUGH = frozenset(
    {
        "MaxPool", "GlobalMaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split",
        "Gather", "GatherElements", "GatherND", "Identity", "Dropout", "Expand", "Tile", "Pad", "DepthToSpace",
        "SpaceToDepth", "Cast", "CastLike", "ReduceMax", "ReduceMin", "Resize", "ReverseSequence", "Compress",
    }
)  # fmt: skip
"""Ops whose outputs are values of their first input (or zero): their quantizer is the input's. See is_pass_through."""

REDUCING = frozenset({"MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin"})
"""Those of them that leave most values out: of masked values none is left."""

RECURRENT_OPS = ("LSTM", "GRU", "RNN")
MAC_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", *RECURRENT_OPS)
"""Ops that multiply and accumulate. See is_multiplier."""

TABLE_LOOKUPS = frozenset({"Gather", "GatherElements", "GatherND"})
JOINS = frozenset({"Concat", "ScatterND", "ScatterElements"})
"""Ops whose outputs are values of several inputs side by side."""

COMPARISONS = frozenset(
    {
        "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "And", "Or", "Xor", "Not", "IsNaN", "IsInf",
        "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitShift",
    }
)  # fmt: skip
SELECTORS = frozenset({"ArgMax", "ArgMin", "TopK", "NonZero", "NonMaxSuppression", "Unique"})
"""Ops that tell where values stand."""
SHAPE_READERS = frozenset({"Shape", "Size"})
RANDOM = frozenset(
    {
        "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial",
    }
)  # fmt: skip

BOOKKEEPING: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,), "CenterCropPad": (1,), "Compress": (1,), "ConstantOfShape": (0,), "CumSum": (1,),
    "DFT": (1, 2), "Dropout": (1, 2), "Expand": (1,), "EyeLike": (0,), "GRU": (4,), "Gather": (1,),
    "GatherElements": (1,), "GatherND": (1,), "GridSample": (1,), "If": (0,), "LSTM": (4,), "Loop": (0, 1), "MaxUnpool": (1, 2),
    "NonMaxSuppression": (2, 3, 4), "OneHot": (0, 1), "Pad": (1, 3), "RNN": (4,), "Range": (0, 1, 2),
    "ReduceL1": (1,), "ReduceL2": (1,), "ReduceLogSum": (1,), "ReduceLogSumExp": (1,), "ReduceMax": (1,),
    "ReduceMean": (1,), "ReduceMin": (1,), "ReduceProd": (1,), "ReduceSum": (1,), "ReduceSumSquare": (1,),
    "Reshape": (1,), "Resize": (1, 2, 3), "ReverseSequence": (1,), "RoiAlign": (2,), "STFT": (1, 3),
    "ScatterElements": (1,), "ScatterND": (1,), "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,),
    "Tile": (1,), "TopK": (1,), "Trilu": (1,), "Unsqueeze": (1,), "Upsample": (1,), "Where": (0,),
}  # fmt: skip
"""Operands that are indices, shapes, axes, repeats, scales or conditions."""


def is_standard(node: ir.Node) -> bool:
    return node.domain in STANDARD_DOMAINS


def is_tensor(value: ir.Value) -> bool:
    """False for a sequence of tensors, and for what may be absent; unknown types count as tensors."""
    return value.type is None or isinstance(value.type, ir.TensorType)


def is_float(value: ir.Value | None) -> bool:
    """True for float16, bfloat16, float and double tensors; unknown types count as float."""
    return value is not None and is_tensor(value) and (value.dtype is None or value.dtype.is_floating_point())


def is_float32(value: ir.Value | None) -> bool:
    """True for the type that canonical graphs compute and quantize in; inputs and outputs may have others (float16, double)."""
    return value is not None and is_tensor(value) and value.dtype in (None, ir.DataType.FLOAT)


def is_constant(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is not None


def rank_of(value: ir.Value | None) -> int | None:
    """The number of axes; None where it is not known."""
    if value is None:
        return None
    shape = value.shape if value.const_value is None else value.const_value.shape
    return None if shape is None else len(shape)


def is_pass_through(node: ir.Node) -> bool:
    """True where every output value is a value of the first input, or zero.

    Not so: a Gather from a constant table, a Pad with another fill, a Resize that interpolates, a Cast from or to another
    type than float32.
    """
    if node.op_type not in PASS_THROUGH or not is_standard(node) or is_constant(node.inputs[0]):
        return False
    if node.op_type in ("Cast", "CastLike"):
        return is_float32(node.inputs[0]) and is_float32(node.outputs[0])
    if node.op_type == "Resize":
        return _copies_pixels(node)
    return node.op_type != "Pad" or pad_fill(node) == 0


def pad_fill(node: ir.Node) -> float | None:
    """The value that a Pad adds (0 where it repeats the tensor's own); None where that is computed."""
    if node.attributes.get_string("mode", "constant") != "constant":
        return 0.0
    fill = node.inputs[2] if len(node.inputs) > 2 else None
    if fill is None:
        return 0.0
    return float(fill.const_value.numpy().reshape(-1)[0]) if fill.const_value is not None else None


def _copies_pixels(resize: ir.Node) -> bool:
    mode = resize.attributes.get_string("mode", "nearest")
    crops = resize.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    return mode == "nearest" and crops != "tf_crop_and_resize"


def is_bookkeeping(node: ir.Node, index: int) -> bool:
    """True where operand `index` is an index, a shape, an axis, a number of repeats, a scale or a condition."""
    return index in BOOKKEEPING.get(node.op_type, ()) and is_standard(node)


def is_join(node: ir.Node) -> bool:
    """True for a node that puts values of several tensors side by side."""
    replaces = node.attributes.get_string("reduction", "none") == "none"
    return node.op_type in JOINS and is_standard(node) and replaces


def is_multiplier(node: ir.Node) -> bool:
    """True for a node that multiplies and accumulates."""
    return node.op_type in MAC_OPS and is_standard(node)


def factors(node: ir.Node) -> tuple[ir.Value, ...]:
    """The operands of a multiplier that are multiplied."""
    chosen = {"Einsum": slice(None)} | dict.fromkeys(RECURRENT_OPS, slice(3))
    return tuple(value for value in node.inputs[chosen.get(node.op_type, slice(2))] if value is not None)


def read_by_multiplier(value: ir.Value) -> bool:
    """True where a multiplier multiplies the values of `value`, itself or through pass-through ops."""
    return _multiplied(value, lambda node, index: index == 0 and is_pass_through(node))


def leads_to_multiplier(value: ir.Value) -> bool:
    """True where a multiplier multiplies what is computed from the values of `value`, however far behind."""
    return _multiplied(value, lambda node, index: not is_bookkeeping(node, index))


def _multiplied(value: ir.Value, passes: Callable[[ir.Node, int], bool]) -> bool:
    """True where a multiplier multiplies `value`, itself or behind nodes that pass it on."""
    waiting, seen = [value], {value}
    while waiting:
        current = waiting.pop()
        for node, index in current.uses():
            if is_multiplier(node) and any(each is current for each in factors(node)):
                return True
            if node.op_type not in SHAPE_READERS and passes(node, index):
                found = set(node.outputs) - seen
                seen |= found
                waiting.extend(found)
    return False
