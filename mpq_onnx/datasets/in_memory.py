"""Data that a caller holds: an array, arrays by name, (inputs, labels), or batches of these as a DataLoader gives them.

Batches are read once and kept: whatever order they come in, and however often they could be read, a run sees the same examples.
What is given is the model's own input, but for images of bytes, which are preprocessed as those of a file are (see arrays.py).
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mpq_onnx.datasets.arrays import IMAGE_AXES, IMAGES, LABELS, array_examples
from mpq_onnx.datasets.base import Examples, Facts
from mpq_onnx.datasets.preprocessing import Preprocessing
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.errors import DataError, MpqOnnxError, first_line
from mpq_onnx.graph.model_inputs import ModelInput
from mpq_onnx.progress import begin

OTHER_LABELS = ("label", "target", "targets", "y")
"""Names that stand for labels where no input of the model has them."""
FORMS = "a data spec, an array, a dict of arrays, a tuple (inputs, labels) or batches of these, such as a DataLoader"


class InMemory:
    """One source of data; equal to itself alone."""

    def __init__(self, given: Any) -> None:
        self._given = given
        self._read: tuple[tuple[str, ...], dict[str, np.ndarray]] | None = None
        self.name = _named(given)

    def __str__(self) -> str:
        """What stands in the place of a spec: in errors and in what is kept of a result."""
        return self.name

    def open_examples(self, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
        """The examples for a model with `inputs`.

        Raises:
            DataError: no examples, or no array for an input.
        """
        arrays = self._arrays(inputs)
        preprocessing = Preprocessing.of_model(facts, DataSpec(self.name, "", "", {}))
        raw = tuple(
            name for name, array in arrays.items() if array.dtype != np.uint8 or array.ndim != IMAGE_AXES
        )
        return array_examples(arrays, inputs, preprocessing, self.name, raw)

    def _arrays(self, inputs: tuple[ModelInput, ...]) -> dict[str, np.ndarray]:
        """By input name; what was read for a model with these inputs is kept."""
        names = tuple(wanted.name for wanted in inputs)
        if self._read is None or self._read[0] != names:
            self._read = names, self._gathered(names)
        return self._read[1]

    def _gathered(self, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        batches = []
        try:
            for batch in self._batches():
                batches.append(_by_name(batch, names, self.name))
        except MpqOnnxError:
            raise
        except Exception as error:  # the caller's own code runs
            raise DataError(
                f"{self.name}: reading it failed: {type(error).__name__}: {first_line(error)}"
            ) from error
        if not batches:
            raise DataError(
                f"{self.name}: gave no batch; a generator can be read once: make a new one, or give a list or a DataLoader"
            )
        if any(batch.keys() != batches[0].keys() for batch in batches):
            raise DataError(f"{self.name}: its batches hold arrays of different names")
        try:
            joined = batches[0]
            if len(batches) > 1:
                joined = {name: np.concatenate([batch[name] for batch in batches]) for name in joined}
        except ValueError as error:
            raise DataError(f"{self.name}: its batches do not fit together: {first_line(error)}") from error
        return _checked(joined, self.name)

    def _batches(self) -> Iterable[Any]:
        """What was given, whole or in parts."""
        if _is_array(self._given) or isinstance(self._given, Mapping | tuple):
            return (self._given,)
        begin(f"read the {self.name}")
        return self._given  # type: ignore[no-any-return]


DataSource = str | os.PathLike[str] | np.ndarray | Mapping[str, Any] | Iterable[Any] | InMemory
"""What a caller may give as data."""


def data_source(data: Any) -> "str | InMemory":
    """What open_dataset takes, of what a caller gave.

    Raises:
        DataError: it is no data.
    """
    if isinstance(data, str | InMemory):
        return data
    if hasattr(data, "__fspath__"):
        return str(data.__fspath__())
    if (
        data is None
        or isinstance(data, bytes | int | float)
        or not (_is_array(data) or isinstance(data, Iterable))
    ):
        raise DataError(f"data {_kind(data)}: give {FORMS}")
    return InMemory(data)


def optional_source(data: Any) -> "str | InMemory | None":
    """The same where there may be none."""
    return None if data is None else data_source(data)


def _by_name(given: Any, names: Sequence[str], where: str) -> dict[str, np.ndarray]:
    """Arrays by input name, and `labels`, of one source or one batch of it."""
    if isinstance(given, Mapping):
        return _of_mapping(given, names, where)
    parts = list(given) if isinstance(given, tuple | list) else [given]
    if len(parts) == 2 and isinstance(parts[0], Mapping):
        return {**_of_mapping(parts[0], names, where), LABELS: _array(parts[1], where)}
    if len(parts) not in (len(names), len(names) + 1):
        raise DataError(
            f"{where}: {len(parts)} arrays side by side, the model wants {', '.join(names)}, and labels behind them where"
            " there are some"
        )
    return dict(zip((*names, LABELS), (_array(part, where) for part in parts), strict=False))


def _of_mapping(given: Mapping[Any, Any], names: Sequence[str], where: str) -> dict[str, np.ndarray]:
    """Of a dict the inputs, and labels by one of their names; what else it holds is nobody's."""
    label = next((name for name in (LABELS, *OTHER_LABELS) if name in given and name not in names), None)
    wanted = [*names]
    if len(names) == 1 and names[0] not in given and IMAGES in given:
        wanted = [IMAGES]
    if not all(name in given for name in wanted):
        raise DataError(
            f"{where}: has {', '.join(map(str, given)) or 'no arrays'}, the model wants {', '.join(names)} (and labels, where"
            " there are some)"
        )
    found = {name: _array(given[name], where) for name in wanted}
    return found if label is None else {**found, LABELS: _array(given[label], where)}


def _array(value: Any, where: str) -> np.ndarray:
    """A numpy array of what has numbers: numpy's, torch's, lists.

    Raises:
        DataError: it has none.
    """
    if hasattr(value, "detach"):  # a tensor of torch, which need not be loaded
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
    try:
        array = np.asarray(value)
    except Exception as error:  # lists of other lengths, tensors that are none
        raise DataError(f"{where}: holds {_kind(value)}, no array: {first_line(error)}") from error
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where}: holds {_kind(value)} of {array.dtype}, not numbers; give {FORMS}")
    return array


def _checked(arrays: dict[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """With at least one example."""
    if any(array.ndim and not len(array) for array in arrays.values()):
        raise DataError(f"{where}: no examples: an array has length 0")
    return arrays


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or (hasattr(value, "detach") and hasattr(value, "numpy"))


def _named(given: Any) -> str:
    if _is_array(given):
        return f"array in memory {tuple(given.shape)}"
    return "arrays in memory" if isinstance(given, Mapping | tuple) else _kind(given)


def _kind(value: Any) -> str:
    return type(value).__name__
