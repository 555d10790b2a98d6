"""Which operators the mirror knows (mirror/ops), said without loading torch: what is of no others can be allocated."""

import onnx_ir as ir

from mpq_onnx.graph.operators import OWN_DOMAINS, STANDARD_DOMAINS

MIRRORED = frozenset(
    {
        "Abs", "Acos", "Acosh", "Add", "AffineGrid", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh",
        "AveragePool", "BatchNormalization", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast",
        "CastLike", "Ceil", "Celu", "Clip", "Compress", "Concat", "ConstantOfShape", "Conv", "ConvTranspose", "Cos",
        "Cosh", "CumSum", "DFT", "DeformConv", "DepthToSpace", "DequantizeLinear", "Det", "Div", "Dropout", "Einsum",
        "Elu", "Equal", "Erf", "Exp", "Expand", "EyeLike", "Flatten", "Floor", "GRU", "Gather", "GatherElements",
        "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Greater", "GreaterOrEqual",
        "GridSample", "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax", "Identity", "InstanceNormalization",
        "IsInf", "IsNaN", "LRN", "LSTM", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax",
        "LpNormalization", "LpPool", "MatMul", "Max", "MaxPool", "MaxUnpool", "Mean", "MeanVarianceNormalization", "Min",
        "Mish", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or", "PRelu", "Pad", "Pow", "QuantizeLinear",
        "RMSNormalization", "RNN", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp",
        "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Resize",
        "ReverseSequence", "RoiAlign", "Round", "STFT", "ScatterElements", "ScatterND", "Selu", "Shape", "Shrink",
        "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split",
        "Sqrt", "Squeeze", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu",
        "Unsqueeze", "Where", "Xor",
    }
)  # fmt: skip
"""The names in mirror.ops.OP_TABLE; a test holds the two equal."""
REFUSED_ATTRIBUTES = {"RoiAlign": {"mode": "max"}}
"""Values of their attributes, by operator, that the mirror does not know."""


def refused_attribute(node: ir.Node) -> str | None:
    """What keeps a node of a mirrored operator from a mirror: `mode max`; None for nothing."""
    refused = REFUSED_ATTRIBUTES.get(node.op_type, {})
    return next(
        (
            f"{name} {value}"
            for name, value in refused.items()
            if node.attributes.get_string(name, "") == value
        ),
        None,
    )


def unmirrored_nodes(model: ir.Model) -> list[ir.Node]:
    """The nodes of a canonical model that have no mirror."""
    return [node for node in model.graph if not is_mirrored(node)]


def is_mirrored(node: ir.Node) -> bool:
    """Whether the mirror knows a node: an operator of ONNX, or one that a file holds as a function of ours (ops.composites)."""
    own = node.domain in STANDARD_DOMAINS or node.domain.startswith(OWN_DOMAINS)
    return (
        own and (node.op_type in MIRRORED or node.op_type == "Constant") and refused_attribute(node) is None
    )
