"""Data sets: examples by index, served in checked batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mpq_onnx.datasets.identity import Describe, array_rows, keys_of
from mpq_onnx.datasets.read_ahead import read_ahead
from mpq_onnx.errors import DataError
from mpq_onnx.graph.model_inputs import ModelInput
from mpq_onnx.ranks import ALONE, Ranks

Facts = Mapping[str, str]
"""A model's metadata; the keys that data sets look at are in metadata.py."""


@dataclass(frozen=True)
class Batch:
    """Some examples."""

    inputs: dict[str, np.ndarray]
    """One array a model input, as the model reads it: examples along the input's own axis, shared inputs once."""
    labels: np.ndarray | None
    """int64 classes, float64 scores, or none."""
    groups: np.ndarray | None = None
    """str [examples]: which part of the data each is from, where metrics are wanted by part."""

    examples: int = 0
    """How many."""


@dataclass(frozen=True)
class Examples:
    """What a kind of data spec provides: how many examples there are, and a way to read some by index."""

    length: int
    has_labels: bool
    read: Callable[[Sequence[int]], Batch]
    describe: Describe | None = None
    """What an example is known by (see identity.py), where that is quicker to have than what `read` gives, the default."""
    describe_version: Describe | None = None
    """The same for a file that may change under its name; by default `describe`."""
    setup: str = ""
    """Whatever else the arrays depend on: preprocessing, tokenizer, columns."""
    together: int = 1
    """So many examples, one after the other, belong together: 2 where they are pairs."""
    numbered_folders: int | None = None
    """How many folders gave labels by their places alone; None where labels have another source."""
    image_files: bool = False
    """Whether the examples are images in files, which are resized and cropped as they are read."""

    def described(self, indices: Sequence[int]) -> Iterable[bytes]:
        """See `describe`."""
        if self.describe is not None:
            return self.describe(indices)
        batch = self.read(indices)
        others = {"labels": batch.labels, "groups": batch.groups}
        known = {name: array for name, array in others.items() if array is not None}
        return array_rows(batch.inputs | known, range(len(indices)))


def check_whole(array: np.ndarray, typed: np.ndarray, name: str, where: str) -> None:
    """Raise DataError, naming the input, where numbers are others as the whole numbers that the model takes."""
    if typed.dtype.kind not in "iu" or array.dtype == typed.dtype:
        return
    changed = typed != array
    if changed.any():
        example = array[changed].reshape(-1)[0]
        raise DataError(
            f"{where}: model input {name} takes whole numbers ({typed.dtype}), and {example} is none; give them as they are"
        )


def check_in_range(
    array: np.ndarray, typed: np.ndarray, name: str, where: str, places: Sequence[int]
) -> None:
    """Raise DataError, naming the input and the example, where finite numbers are infinite in the model's type.

    Args:
        array: examples [examples, ...] as they are given.
        typed: the same in the model's type.
        places: of the examples in the data, from 0.
    """
    if typed.dtype.kind != "f" or array.dtype == typed.dtype:
        return
    lost = ~np.isfinite(typed) & np.isfinite(array)
    if lost.any():
        place, value = min(
            (place, rows[gone][0])
            for place, rows, gone in zip(places, array, lost, strict=True)
            if gone.any()
        )
        raise DataError(
            f"{where}: example {place} of the data, counted from 0, holds {value:g}, which {typed.dtype} of model input {name}"
            " has no room for; scale the data"
        )


def check_numbers(array: np.ndarray, name: str, where: str) -> None:
    """Raise DataError, naming the input, where `array` holds text, complex numbers or dates, which conversions would cut."""
    if array.dtype.kind not in "fiub":
        kind = "text" if array.dtype.kind in "SU" else array.dtype
        raise DataError(f"{where}: input {name} holds {kind}, not numbers; give real or whole ones")


@dataclass(frozen=True)
class Dataset:
    """A range of examples that fit a model."""

    name: str
    """The data spec."""
    examples: Examples
    inputs: tuple[ModelInput, ...]
    indices: Sequence[int]
    task: str = ""
    """The model's; a name in tasks.TASKS, or nothing where it is unknown."""
    ranks: Ranks = ALONE
    """Who go through it together."""

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def has_labels(self) -> bool:
        return self.examples.has_labels

    def read(self, positions: Sequence[int] | np.ndarray) -> Batch:
        """The examples at `positions` (0 .. len-1), converted to the model's types and checked.

        Raises:
            DataError: wrong shape, NaN, numbers beyond the model's type, or an input that the data lacks.
        """
        places = [self.indices[position] for position in positions]
        batch = self.examples.read(places)
        arrays = {}
        for wanted in self.inputs:
            if wanted.name not in batch.inputs:
                raise DataError(
                    f"{self.name}: no array for model input {wanted.name}; it has {', '.join(batch.inputs)}"
                )
            array = batch.inputs[wanted.name]
            check_numbers(array, wanted.name, self.name)
            with np.errstate(over="ignore"):  # what becomes infinite is refused below
                # Writable: what examples share may be one read-only array, which torch takes with a warning alone.
                typed = np.require(array, wanted.dtype, ["C", "W"])
            check_whole(array, typed, wanted.name, self.name)
            check_in_range(array, typed, wanted.name, self.name, places)
            wanted.check(typed, self.name, places, self.examples.image_files)
            arrays[wanted.name] = wanted.place(typed, self.name)
        return Batch(arrays, batch.labels, batch.groups, len(positions))

    def batches(self, size: int) -> Iterator[Batch]:
        """All examples in order, `size` at a time; the last batch may be smaller. One is read ahead while the caller works."""
        return read_ahead(self.read, self.parts(size))

    def parts(self, size: int) -> list[range]:
        """The positions of all batches of that size."""
        return [range(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def own_batches(self, size: int) -> Iterator[Batch]:
        """Those of all batches that this rank goes through."""
        return read_ahead(self.read, self.ranks.own(self.parts(size)))

    def among(self, ranks: Ranks) -> "Dataset":
        """The same, to be gone through by `ranks` together."""
        return replace(self, ranks=ranks)

    def part(self, positions: Sequence[int] | np.ndarray) -> "Dataset":
        """The examples at `positions` as a data set of their own."""
        chosen = [self.indices[position] for position in positions]
        return replace(self, indices=chosen)

    def first(self, count: int | None) -> "Dataset":
        """The first `count` examples (all, for None): a sample where the data set is in drawn order (see sampling.py)."""
        return self if count is None or count >= len(self) else self.part(range(count))

    def followed_by(self, other: "Dataset") -> "Dataset":
        """The same, and behind it the part `other` of the same examples."""
        return replace(self, indices=[*self.indices, *other.indices])

    def keys(self) -> np.ndarray:
        """uint64 [examples]: what each is known by, whatever its place."""
        return keys_of(self.examples.described, self.indices)
