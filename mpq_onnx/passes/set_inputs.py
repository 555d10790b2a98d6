"""Give inputs a value for good: they become constants, and what hangs on them alone folds away."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from mpq_onnx.errors import UsageError, first_line


class SetInputsPass(ir.passes.InPlacePass):
    """Set inputs, by name, to arrays of their type; or open axes, by their name, to one length.

    An array may be one number for an input of any shape (an open axis then has length 1), or as many as the input holds.

    Raises:
        UsageError: no input or axis has that name, the value does not fit it, or no input is left.
    """

    def __init__(self, values: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        self.values = values

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        inputs = {str(value.name): value for value in graph.inputs if value.name not in graph.initializers}
        for name, array in self.values.items():
            if name in inputs:
                _make_constant(graph, inputs.pop(name), array)
            elif not _set_axis(inputs, name, array):
                known = ", ".join([*inputs, *_axis_names(inputs)])
                raise UsageError(f"--set {name}: no such input or open axis; the model has {known or 'none'}")
        if self.values and not inputs:
            raise UsageError("--set leaves the model without an input; leave out the one that takes the data")
        return ir.passes.PassResult(model, modified=bool(self.values))


def _make_constant(graph: ir.Graph, value: ir.Value, array: np.ndarray) -> None:
    dtype = value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)
    tensor = ir.tensor(_shaped(value, _typed(value, array, dtype)), dtype=value.dtype, name=value.name)
    graph.inputs.remove(value)
    value.const_value, value.shape = tensor, ir.Shape(tensor.shape.numpy())
    graph.register_initializer(value)


def _typed(value: ir.Value, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if value.dtype == ir.DataType.STRING:
        raise UsageError(
            f"--set {value.name}: is text, which has no place here; export the network behind what turns it into numbers"
        )
    try:
        typed = array.astype(dtype)
    except (TypeError, ValueError) as error:
        raise UsageError(f"--set {value.name}: cannot be {value.dtype}: {first_line(error)}") from error
    whole = value.dtype is not None and not value.dtype.is_floating_point()
    if whole and not np.array_equal(typed.astype(np.float64), array.astype(np.float64)):
        raise UsageError(f"--set {value.name}: {array.reshape(-1)[0]} is no {value.dtype}")
    return typed


def _shaped(value: ir.Value, array: np.ndarray) -> np.ndarray:
    """`array` in the shape of the input; one number fills it, and opens no axis."""
    if value.shape is None:
        return array
    wanted = [size if isinstance(size, int) else None for size in value.shape]
    if array.size == 1:
        return np.full([1 if size is None else size for size in wanted], array.reshape(-1)[0], array.dtype)
    if array.ndim == len(wanted) and all(
        size in (None, found) for size, found in zip(wanted, array.shape, strict=True)
    ):
        return array
    if wanted.count(None) <= 1:
        try:
            return array.reshape([-1 if size is None else size for size in wanted])
        except ValueError:
            pass
    shape = ", ".join("any" if size is None else str(size) for size in wanted)
    raise UsageError(f"--set {value.name}: {array.size} numbers do not fill its shape ({shape})")


def _set_axis(inputs: Mapping[str, ir.Value], name: str, array: np.ndarray) -> bool:
    """Give the open axes called `name` a length; False where there is none."""
    if name not in _axis_names(inputs):
        return False
    length = array.reshape(-1)[0] if array.size == 1 and array.dtype.kind in "iuf" else None
    if length is None or length != int(length) or length < 1:
        raise UsageError(f"--set {name}: is an axis, whose length is a whole number of at least 1")
    for value in inputs.values():
        if value.shape is not None:
            value.shape = ir.Shape(
                [
                    int(length) if not isinstance(size, int) and size.value == name else size
                    for size in value.shape
                ]
            )
    return True


def _axis_names(inputs: Mapping[str, ir.Value]) -> list[str]:
    names = [
        size.value
        for value in inputs.values()
        for size in value.shape or ()
        if not isinstance(size, int) and size.value is not None
    ]
    return list(dict.fromkeys(names))
