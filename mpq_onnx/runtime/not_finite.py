"""Examples whose outputs hold NaN or infinity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpq_onnx.runtime.output_form import as_examples


@dataclass(frozen=True)
class NotFinite:
    """How many examples have one in any output."""

    nan: int = 0
    infinite: int = 0

    @staticmethod
    def of(outputs: Sequence[np.ndarray], examples: int) -> "NotFinite":
        """Of one batch; what an output without an axis of examples holds, all of them have."""
        nan, infinite = np.zeros(examples, bool), np.zeros(examples, bool)
        for output in outputs:
            if output.dtype.kind == "f" and not np.isfinite(output).all():
                values = as_examples(output, examples)
                rows = values.reshape(len(values), -1)
                nan |= np.isnan(rows).any(axis=1)
                infinite |= np.isinf(rows).any(axis=1)
        return NotFinite(int(nan.sum()), int(infinite.sum()))

    def __add__(self, other: "NotFinite") -> "NotFinite":
        """Of two batches."""
        return NotFinite(self.nan + other.nan, self.infinite + other.infinite)

    @staticmethod
    def most(repeats: Sequence["NotFinite"]) -> "NotFinite":
        """Of passes over the same examples: those of the worst."""
        return NotFinite(max(each.nan for each in repeats), max(each.infinite for each in repeats))

    def __str__(self) -> str:
        """`NaN in 3, infinity in 5`."""
        said = [("NaN", self.nan), ("infinity", self.infinite)]
        return ", ".join(f"{what} in {count}" for what, count in said if count) or "none"


ALL_FINITE = NotFinite()
