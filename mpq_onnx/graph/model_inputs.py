"""What a model wants to be fed: name, element type and shape of each input, and which axis runs over examples."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.errors import DataError, ModelError
from mpq_onnx.graph.operators import is_join, is_pass_through, is_standard

IMAGE_AXES = 3
"""Of one example."""
MOST_CHANNELS = 4
"""Of an image; an axis that is longer is a height or a width."""

IMPUTED_ADVICE = (
    "; ranges and figures are of data without NaN, though the network fills it in: put in its place what the network does, or"
    " export the network behind its Imputer"
)


@dataclass(frozen=True)
class ModelInput:
    """One graph input."""

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...] | None
    """None for an axis of any length; None instead of a tuple where even the rank is open."""

    example_axis: int | None = 0
    """The axis that runs over examples; None for an input that all examples of a batch share (a scalar, a sample rate)."""

    is_imputed: bool = False
    """The network looks for NaN in it, and puts something else in its place."""

    @property
    def fixed_batch(self) -> int | None:
        """The batch size, where the model allows just one."""
        return self.shape[self.example_axis] if self.shape and self.example_axis is not None else None

    @property
    def example_shape(self) -> tuple[int | None, ...] | None:
        """The shape of one example, its axis left out; None where even the rank is open."""
        if self.shape is None or self.example_axis is None:
            return self.shape
        return (*self.shape[: self.example_axis], *self.shape[self.example_axis + 1 :])

    def check_type(self) -> None:
        """Raise ModelError for an input that no data can be given to: of text, or of complex numbers."""
        if self.dtype.kind == "O":
            raise ModelError(
                f"model input {self.name} is text, and data are numbers: turn it into numbers outside, as its LabelEncoder or"
                " vocabulary does, and export the network behind that, with these numbers for an input"
            )
        if self.dtype.kind == "c":
            raise ModelError(
                f"model input {self.name} holds complex numbers, and data are real: export the network with their real and"
                " imaginary parts for inputs"
            )

    def check(self, array: np.ndarray, where: str, places: Sequence[int], image_files: bool = False) -> None:
        """Raise DataError unless examples [examples, ...] fit this input, free of NaN and infinities.

        Args:
            places: of the examples in the data as it was given, from 0.
            image_files: the examples come from files, which resize= and crop= apply to.
        """
        if self.example_shape is not None:
            fits = array.ndim == len(self.example_shape) + 1 and all(
                wanted is None or wanted == size
                for wanted, size in zip(self.example_shape, array.shape[1:], strict=True)
            )
            if not fits:
                advice = self._axis_advice(array.shape[1:]) or shape_advice(
                    array.shape[1:], self.example_shape, image_files
                )
                raise DataError(
                    f"{where}: examples of shape {_shape_text(array.shape[1:])} do not fit model input"
                    f" {self.name} {_shape_text(self.example_shape)}; {advice}"
                )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
            example = min(place for place, is_bad in zip(places, bad, strict=True) if is_bad)
            raise DataError(
                f"{where}: NaN or infinity in example {example} of the data, counted from 0, for input {self.name}"
                + (IMPUTED_ADVICE if self.is_imputed else "")
            )

    def _axis_advice(self, found: Sequence[int]) -> str | None:
        """What to do where one example of shape `found` fills the whole input, which has then no axis for several."""
        axis = self.example_axis
        if self.shape is None or axis is None or (self.fixed_batch or 1) == 1:
            return None
        if len(found) != len(self.shape) or not _fits(found, self.shape):
            return None
        wanted = ", ".join(["batch", *map(str, found)])
        return (
            f"each fills the whole input, whose axis {axis} of length {self.shape[axis]} is taken for that of the examples,"
            f" which need one of their own: export the network again with input ({wanted}), or, where axis {axis} does run over"
            " examples, give them one by one"
        )

    def place(self, examples: np.ndarray, where: str) -> np.ndarray:
        """`examples` [examples, ...] as the model reads them: along its own axis, or once where all share the input.

        Raises:
            DataError: the examples differ in an input that a batch has only one value of.
        """
        if self.example_axis is None:
            if len(examples) and (examples != examples[:1]).any():
                raise DataError(
                    f"{where}: examples differ in model input {self.name}, which a batch has one value of; give all the same"
                    f" value, or fix it with `mpq-onnx export --set {self.name}=VALUE`"
                )
            return np.ascontiguousarray(examples[0])
        return np.ascontiguousarray(np.moveaxis(examples, 0, self.example_axis))


def shape_advice(found: Sequence[int], wanted: Sequence[int | None], image_files: bool) -> str:
    """What to do about an example of shape `found` where the model reads `wanted`, axes of None being open."""
    if len(found) != IMAGE_AXES or len(wanted) != IMAGE_AXES:
        return "convert the data"
    if image_files:
        return _file_advice(found, wanted)
    orders = {"": tuple(found), "nhwc": (found[2], *found[:2]), "nchw": (*found[1:], found[0])}
    layout = next((name for name, sizes in orders.items() if _fits(sizes, wanted)), None)
    if layout:
        return f"set layout={layout}"
    for name, place in (("", 0), ("", 2), ("nhwc", 0), ("nchw", 2)):
        sizes = orders[name]
        if sizes[place] == wanted[place] and sizes[place] <= MOST_CHANNELS:
            lengths = [size for axis, size in enumerate(wanted) if axis != place]
            resize = f"resize the images to {_by(lengths)} pixels before they are stored"
            return f"set layout={name} and {resize}" if name else resize
    return "convert the data"


def _file_advice(found: Sequence[int], wanted: Sequence[int | None]) -> str:
    """Image files come as [3, height, width]."""
    height, width = wanted[1:]
    if not _fits(found[:1], wanted[:1]):
        return "image files become 3 channels, before height and width; convert the model, or give arrays by npz:"
    if height is not None and height == width:
        return f"set resize={height}&crop={height}, or a larger resize="
    return f"resize the files to {_by([height, width])} pixels"


def _fits(sizes: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return all(size is None or size == given for given, size in zip(sizes, wanted, strict=True))


def _shape_text(shape: Sequence[int | None]) -> str:
    """`(3, any)`."""
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"


def _by(lengths: Sequence[int | None]) -> str:
    """`224 x 224`; open axes are any."""
    return " x ".join("any" if size is None else str(size) for size in lengths)


def model_inputs(model: ir.Model) -> tuple[ModelInput, ...]:
    """The inputs of `model` that are not initializers, in graph order."""
    values = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    axes = example_axes([_dimensions(value) for value in values])
    return tuple(
        ModelInput(str(value.name), _numpy_dtype(value), _shape(value), axis, _is_imputed(value))
        for value, axis in zip(values, axes, strict=True)
    )


def _is_imputed(value: ir.Value) -> bool:
    """Whether NaN is looked for among the values of an input, wherever they are passed on to."""
    waiting, seen = [value], {value}
    while waiting:
        for node, index in waiting.pop().uses():
            if _finds_nan(node):
                return True
            if (
                (node.op_type == "Cast" and is_standard(node))
                or (index == 0 and is_pass_through(node))
                or is_join(node)
            ):
                found = set(node.outputs) - seen
                seen |= found
                waiting.extend(found)
    return False


def _finds_nan(node: ir.Node) -> bool:
    """IsNaN, and the Imputer of scikit-learn's converters that replaces NaN."""
    if node.op_type == "Imputer" and node.domain == "ai.onnx.ml":
        return math.isnan(node.attributes.get_float("replaced_value_float", 0.0))
    return node.op_type == "IsNaN" and is_standard(node)


def fixed_batch(inputs: Iterable[ModelInput]) -> int | None:
    """How many examples a model with `inputs` takes at once, where it allows just one number."""
    return next((each.fixed_batch for each in inputs if each.fixed_batch), None)


def open_batch_names(model: ir.Model) -> set[str]:
    """The names of open axes that run over examples in every input that has an axis of that name."""
    values = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    inputs = [_dimensions(value) for value in values]
    over_examples: set[str] = set()
    others: set[str] = set()
    for dimensions, example_axis in zip(inputs, example_axes(inputs), strict=True):
        for axis, size in enumerate(dimensions or ()):
            if isinstance(size, str):
                (over_examples if axis == example_axis else others).add(size)
    return over_examples - others


Dimensions = Sequence[int | str | None] | None
"""Of one input: a length, the name of an open axis, or None for an open axis without a name; None for an open rank."""
BATCH_NAMES = ("batch", "n", "bs", "b")


def example_axes(inputs: Sequence[Dimensions]) -> list[int | None]:
    """The axis of every input that runs over examples, told from names and lengths.

    Open axes: the one named like a batch, else axis 0 where it is open, else the one open axis; the same name is the same axis
    in all inputs. Without open axes the batch is the first input's axis 0; inputs that begin otherwise have it at the axis of
    that length.
    """
    ranked = [dimensions for dimensions in inputs if dimensions]
    batch = _batch_name(ranked)
    if batch is None and all(isinstance(each[0], int) for each in ranked):
        size = ranked[0][0] if ranked else None
        return [0 if each is None else list(each).index(size) if size in each else None for each in inputs]
    return [0 if each is None else _open_axis(each, batch) for each in inputs]


def _batch_name(ranked: Sequence[Sequence[int | str | None]]) -> str | None:
    names = [size for dimensions in ranked for size in dimensions if isinstance(size, str)]
    named = next((name for name in names if "batch" in name.lower() or name.lower() in BATCH_NAMES), None)
    if named is not None:
        return named
    return next((each[0] for each in ranked if isinstance(each[0], str)), None)


def _open_axis(dimensions: Sequence[int | str | None], batch: str | None) -> int | None:
    if batch is not None and batch in dimensions:
        return list(dimensions).index(batch)
    opened = [axis for axis, size in enumerate(dimensions) if not isinstance(size, int)]
    return opened[0] if opened and (opened[0] == 0 or len(opened) == 1) else None


def _numpy_dtype(value: ir.Value) -> np.dtype:
    """float32 for bfloat16, which numpy lacks and canonical forms turn into it."""
    if value.dtype is None or value.dtype is ir.DataType.BFLOAT16:
        return np.dtype(np.float32)
    return np.dtype(value.dtype.numpy())


def _dimensions(value: ir.Value) -> Dimensions:
    if value.shape is None:
        return None
    return [size if isinstance(size, int) else size.value for size in value.shape]


def _shape(value: ir.Value) -> tuple[int | None, ...] | None:
    dimensions = _dimensions(value)
    return (
        None if dimensions is None else tuple(size if isinstance(size, int) else None for size in dimensions)
    )
