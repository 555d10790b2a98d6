"""Which axis of a tensor runs over the examples of a batch: axis 0 mostly, but not in time-major networks or merged rows.

Found by running two batch sizes on the same examples: the axis that grows is the examples' own, and where it grows by several
rows an example, the values tell whether an example's rows lie together or one batch apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_onnx.errors import ModelError

Array = Any  # numpy.ndarray or torch.Tensor; only methods that both have are called
Feeds = Mapping[str, np.ndarray]
SMALL, LARGE = 2, 3
"""Examples of the two batches."""
FIXED_BATCHES = 3
"""Of a network that takes one size, to see which lengths hang on the data."""


@dataclass(frozen=True)
class ExampleLayout:
    """Where the examples lie in a tensor."""

    axis: int
    rows: int = 1
    """Entries of the axis that one example has."""
    outer: bool = True
    """True where an example's rows lie together, False where they are one batch apart (as in time-major rows)."""
    told: bool = True
    """False where no axis grows with the examples alone: the length hangs on the data, and the tensor is left as it is."""

    def one_example(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that a tensor of `shape` has for one example."""
        return (*shape[: self.axis], self.rows, *shape[self.axis + 1 :])


Layouts = dict[str, ExampleLayout | None]
"""By tensor; None for a tensor that is the same for every batch. A tensor whose axis is not known is left out."""


UNTOLD = ExampleLayout(0, told=False)


def examples_first(array: Array, layout: ExampleLayout | None, examples: int) -> Array:
    """`array` as [examples, ...]: the examples' axis moved to the front, an example's rows behind it.

    A tensor without examples is repeated for each.

    Raises:
        ModelError: its rows are not those of so many examples.
    """
    if layout is None:
        return array.reshape((1, *array.shape))[[0] * examples]
    axis = layout.axis
    if not array.ndim:  # one number, of one example
        return array.reshape(1)
    if layout.rows > 1:
        if array.shape[axis] != examples * layout.rows:
            raise ModelError(written_batch(examples, array.shape[axis] // layout.rows))
        parts = (examples, layout.rows) if layout.outer else (layout.rows, examples)
        array = array.reshape((*array.shape[:axis], *parts, *array.shape[axis + 1 :]))
        axis += 0 if layout.outer else 1
    for place in range(axis, 0, -1):
        array = array.swapaxes(place, place - 1)
    return array


def examples_or_whole(array: Array, layout: ExampleLayout | None, examples: int) -> Array:
    """examples_first; `array` as it is where it has not so many rows: after all their number hangs on the data."""
    is_split = layout is None or layout.rows <= 1 or array.shape[layout.axis] == examples * layout.rows
    return examples_first(array, layout, examples) if is_split else array


def shows_one(
    layouts: Sequence[ExampleLayout | None], one: Sequence[np.ndarray], other: Sequence[np.ndarray]
) -> bool:
    """Whether a tensor without an axis of examples is another one for another example: it shows one of a batch alone.

    Args:
        one, other: the tensors for one example, and for another.
    """
    return any(
        layout is None and not np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
        for layout, first, second in zip(layouts, one, other, strict=True)
    )


def written_batch(examples: int, found: int) -> str:
    """What is wrong with a network that gives outputs for `found` examples where it has `examples`."""
    return (
        f"{examples} examples at once have outputs for {found}: the batch size is written into the network;"
        " mpq-onnx export opens it where it can, or export the network again with an open batch axis"
    )


def fixed_layout(shape: Sequence[int], batch: int) -> ExampleLayout | None:
    """The layout in a model that takes one batch size: the first axis of that length, else the first if it is a multiple."""
    for axis, size in enumerate(shape):
        if size == batch:
            return ExampleLayout(axis)
    if not shape and batch == 1:
        return ExampleLayout(0)  # one number of the one example
    return ExampleLayout(0, shape[0] // batch) if len(shape) and shape[0] % batch == 0 and shape[0] else None


def joined_batches(parts: Sequence[np.ndarray], batch: int, examples: int) -> np.ndarray:
    """The outputs of several runs of a fixed batch size as those of one run of `examples`.

    Where their lengths differ from run to run, as those of kept boxes do, they lie one behind the other.
    """
    layout = fixed_layout(parts[0].shape, batch)
    unequal = _unequal_axes(parts)
    if unequal:
        (axis,) = unequal if len(unequal) == 1 else (None,)
        return np.concatenate(parts, axis)
    if layout is None:
        return parts[0]
    if not parts[0].ndim:
        return np.stack(parts)
    joined = np.concatenate(parts, layout.axis)
    return np.take(joined, np.arange(examples * layout.rows), layout.axis)


def _unequal_axes(parts: Sequence[np.ndarray]) -> list[int]:
    """Along which arrays have different lengths."""
    return [
        axis
        for axis, sizes in enumerate(zip(*(part.shape for part in parts), strict=True))
        if len(set(sizes)) > 1
    ]


def find_layouts(
    run: Callable[[Feeds], Mapping[str, np.ndarray]],
    read: Callable[[Sequence[int]], Feeds],
    examples: int,
    fixed_batch: int | None,
) -> tuple[Layouts, dict[str, tuple[int, ...]]]:
    """The layout of every tensor that `run` returns, and its shape for one example.

    Args:
        run: inputs by name -> tensors by name; what is a sequence, or is absent, has no layout.
        read: positions of examples -> the model's inputs.
        examples: how many there are.
        fixed_batch: the one batch size that the model takes; None for any.
    """
    if fixed_batch is not None:
        return _of_fixed_batches(run, read, examples, fixed_batch)
    small, large = (
        _tensors(run(read([index % examples for index in range(size)]))) for size in (SMALL, LARGE)
    )
    layouts, shapes = {}, {}
    for name, array in small.items():
        shapes[name] = tuple(array.shape)
        known, layout = _compare(array, large[name])
        if known:
            layouts[name] = layout
            shapes[name] = _one(array.shape, layout)
    return layouts, shapes


def _of_fixed_batches(
    run: Callable[[Feeds], Mapping[str, np.ndarray]],
    read: Callable[[Sequence[int]], Feeds],
    examples: int,
    size: int,
) -> tuple[Layouts, dict[str, tuple[int, ...]]]:
    """See find_layouts; what has another length in another batch is not known."""
    layouts: Layouts = {}
    shapes: dict[str, tuple[int, ...]] = {}
    seen: dict[str, set[tuple[int, ...]]] = {}
    for first in range(0, min(FIXED_BATCHES * size, examples), size):
        values = run(read([(first + index) % examples for index in range(size)]))
        for name, array in _tensors(values).items():
            seen.setdefault(name, set()).add(tuple(array.shape))
    for name, found in seen.items():
        shape = max(found)
        layout = fixed_layout(shape, size)
        shapes[name] = _one(shape, layout)
        if len(found) == 1:
            layouts[name] = layout
    return layouts, shapes


def _tensors(values: Mapping[str, Array]) -> dict[str, Array]:
    """Without the sequences, which are lists, and what an operator leaves out."""
    return {name: value for name, value in values.items() if hasattr(value, "shape")}


def _one(shape: Sequence[int], layout: ExampleLayout | None) -> tuple[int, ...]:
    return tuple(shape) if layout is None else layout.one_example(shape)


def _compare(small: np.ndarray, large: np.ndarray) -> tuple[bool, ExampleLayout | None]:
    """(whether the layout is known, the layout) of a tensor in two batches that begin with the same examples."""
    if small.shape == large.shape:
        return True, None
    if small.ndim != large.ndim:
        return False, None
    grown = [axis for axis in range(small.ndim) if small.shape[axis] != large.shape[axis]]
    if len(grown) != 1:
        return False, None
    (axis,) = grown
    rows = large.shape[axis] - small.shape[axis]
    if small.shape[axis] != SMALL * rows:
        return False, None
    if rows <= 0:
        return False, None
    if rows == 1:
        return True, ExampleLayout(axis)
    candidates = [ExampleLayout(axis, rows, outer) for outer in (True, False)]
    return True, min(candidates, key=lambda layout: _distance(small, large, layout))


def _distance(small: np.ndarray, large: np.ndarray, layout: ExampleLayout) -> float:
    """How far the examples that both batches have lie apart, if `layout` is right."""
    first, second = examples_first(small, layout, SMALL), examples_first(large, layout, LARGE)[:SMALL]
    with np.errstate(invalid="ignore"):  # masks hold infinities
        difference = first.astype(np.float64) - second
    return float(np.abs(difference[np.isfinite(difference)]).sum())
