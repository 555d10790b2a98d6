"""What a model wants to be fed: name, element type and shape of each input."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.errors import DataError


@dataclass(frozen=True)
class ModelInput:
    """One graph input."""

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...] | None
    """None for an axis of any length; None instead of a tuple where even the rank is open."""

    @property
    def fixed_batch(self) -> int | None:
        """The batch size, where the model allows just one."""
        return self.shape[0] if self.shape else None

    def check(self, array: np.ndarray, where: str) -> None:
        """Raise DataError unless a batch `array` fits this input, free of NaN and infinities."""
        if self.shape is not None:
            fits = array.ndim == len(self.shape) and all(
                wanted is None or wanted == size
                for wanted, size in zip(self.shape[1:], array.shape[1:], strict=True)
            )
            if not fits:
                wanted_text = ["any" if size is None else str(size) for size in self.shape[1:]]
                raise DataError(
                    f"{where}: examples of shape ({', '.join(map(str, array.shape[1:]))}) do not fit model input"
                    f" {self.name} ({', '.join(wanted_text)}); set layout= or convert the data"
                )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            example = int(np.argwhere(~np.isfinite(array))[0][0])
            raise DataError(
                f"{where}: NaN or infinity in example {example} of this batch for input {self.name}"
            )


def model_inputs(model: ir.Model) -> tuple[ModelInput, ...]:
    """The inputs of `model` that are not initializers, in graph order."""
    return tuple(
        ModelInput(str(value.name), _numpy_dtype(value), _shape(value))
        for value in model.graph.inputs
        if value.name not in model.graph.initializers
    )


def _numpy_dtype(value: ir.Value) -> np.dtype:
    return np.dtype(value.dtype.numpy()) if value.dtype is not None else np.dtype(np.float32)


def _shape(value: ir.Value) -> tuple[int | None, ...] | None:
    if value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else None for size in value.shape)
