"""What ONNX's own checker lets through and no later stage could take: tensors, names, sizes and ranges that make no sense."""

import itertools

import numpy as np
import onnx_ir as ir

from mpq_onnx.errors import ModelError
from mpq_onnx.graph.operators import is_tensor

LONGEST_RANGE = 2**28
"""Elements; ONNX's shape inference writes every Range of constants out."""
LARGEST_BATCH = 2**20
LARGEST_AXIS = 2**28
RATIO_INPUT, TRAINING_INPUT = 1, 2
"""Of Dropout."""


def check_loaded(model: ir.Model) -> None:
    """Raise ModelError, naming what is wrong, for a model that was just read."""
    _check_text(model)
    _check_inputs(model)
    _check_shapes(model)
    for name, value in model.graph.initializers.items():
        try:
            array = value.const_value.numpy() if value.const_value is not None else None
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            raise ModelError(f"tensor {name}: its data does not fit its shape and type: {error}") from error
        if array is None or value.shape is None or not value.shape.is_static():
            continue
        if array.shape != tuple(value.shape.numpy()):
            raise ModelError(f"tensor {name}: has shape {array.shape}, the graph says {value.shape}")
    _check_ranges(model)


def check_weights(model: ir.Model, operators: tuple[str, ...]) -> None:
    """Raise ModelError, naming the tensor, unless all constants that nodes of `operators` read are finite."""
    read = ((node, value) for node in model.graph if node.op_type in operators for value in node.inputs)
    for node, value in read:
        constant = value.const_value if value is not None else None
        if constant is None or not constant.dtype.is_floating_point():
            continue
        if not np.isfinite(constant.numpy()).all():
            raise ModelError(
                f"tensor {constant.name} of node {node.name} holds NaN or infinity; train or export it again"
            )


def check_inference(model: ir.Model) -> None:
    """Raise ModelError, naming the node, for a BatchNormalization that normalizes by the batch that it sees."""
    for node in model.graph.all_nodes():
        if node.op_type == "BatchNormalization" and node.attributes.get_int("training_mode", 0) == 1:
            raise ModelError(
                f"node {node.name} (BatchNormalization) is in training mode, and normalizes by whatever batch it sees;"
                " export the network in evaluation mode"
            )


def check_dropouts(model: ir.Model) -> None:
    """Raise ModelError, naming the node, for a Dropout that drops numbers, as in training; constants are initializers."""
    for node in model.graph.all_nodes():
        if node.op_type != "Dropout" or len(node.inputs) <= TRAINING_INPUT:
            continue
        ratio, training = node.inputs[RATIO_INPUT], node.inputs[TRAINING_INPUT]
        if training is None or any(_is_zero(each) for each in (ratio, training)):
            continue
        if training.is_graph_input():
            raise ModelError(
                f"node {node.name} (Dropout): input {training.name} says whether it drops numbers, as in training; fix it:"
                f" mpq-onnx export --set {training.name}=0"
            )
        raise ModelError(
            f"node {node.name} (Dropout) is in training mode, and drops other numbers at every run; export the network in"
            " evaluation mode"
        )


def _is_zero(value: ir.Value | None) -> bool:
    constant = None if value is None else value.const_value
    return constant is not None and not constant.numpy().any()


def _check_text(model: ir.Model) -> None:
    """protobuf hands over bytes where a string is no UTF-8."""
    nodes = list(model.graph.all_nodes())
    texts = itertools.chain(
        itertools.chain.from_iterable(model.metadata_props.items()),
        itertools.chain.from_iterable((node.name, node.op_type, node.domain) for node in nodes),
        (value.name for node in nodes for value in node.outputs),
        (value.name for value in model.graph.inputs),
    )
    for text in texts:
        try:
            if text is not None:
                text.encode()
        except (AttributeError, UnicodeEncodeError):  # bytes, or half of a surrogate pair
            raise ModelError("names or metadata that are not UTF-8") from None


def _check_inputs(model: ir.Model) -> None:
    for value in [*model.graph.inputs, *model.graph.outputs]:
        if not is_tensor(value):
            raise ModelError(
                f"input or output {value.name}: is a sequence of tensors, or may be absent; export the network with tensors"
                " there (ConcatFromSequence makes one of a sequence), or without it"
            )
        if value.dtype is None or value.dtype == ir.DataType.UNDEFINED:
            raise ModelError(f"input or output {value.name}: has no element type")
    for value in model.graph.inputs:
        batch = value.shape[0] if value.shape else None
        if isinstance(batch, int) and not 0 < batch <= LARGEST_BATCH:
            raise ModelError(f"input {value.name}: has a batch of {batch:,} examples")


def _check_shapes(model: ir.Model) -> None:
    values = (value for node in model.graph.all_nodes() for value in node.outputs)
    for value in [*model.graph.inputs, *values]:
        for size in value.shape or ():
            if isinstance(size, int) and not 0 <= size <= LARGEST_AXIS:
                raise ModelError(f"tensor {value.name}: has shape {value.shape}")


def _check_ranges(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        if node.op_type != "Range":
            continue
        constants = [ir.convenience.get_const_tensor(value) for value in node.inputs if value is not None]
        ends = [float(each.numpy().reshape(-1)[0]) for each in constants if each is not None and each.size]
        if len(ends) == 3 and ends[2] and not (ends[1] - ends[0]) / ends[2] <= LONGEST_RANGE:
            raise ModelError(f"node {node.name} (Range) makes more than {LONGEST_RANGE:,} elements")
