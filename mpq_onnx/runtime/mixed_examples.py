"""Does a network look at one example to answer another? Then its figures are those of the batches that were run.

A sum or softmax over the examples, a state that goes on from one to the next, a range taken of the whole batch.
"""

from collections.abc import Sequence

import numpy as np

from mpq_onnx.datasets import Dataset
from mpq_onnx.graph.example_layout import ExampleLayout, examples_first
from mpq_onnx.runtime.session import Runner

FEWEST = 3
SHARE = 1e-3
"""Of an output's largest number: kernels may add up in another order at another place of a batch."""


def mixing_outputs(
    runner: Runner, layouts: Sequence[ExampleLayout | None], dataset: Dataset
) -> tuple[str, ...]:
    """The outputs that differ for an example in another place beside others; none where a run differs from itself (noise).

    Args:
        layouts: of the outputs.
    """
    if len(dataset) < FEWEST or any(each.fixed_batch for each in dataset.inputs):
        return ()

    def answers(positions: Sequence[int]) -> list[np.ndarray]:
        """Of the first example, in the batch of the examples at `positions`."""
        outputs = runner.run(dataset.read(positions).inputs)
        place = positions.index(0)
        return [
            np.asarray(examples_first(output, layout, len(positions)))[place]
            for output, layout in zip(outputs, layouts, strict=True)
        ]

    first, again, elsewhere = (answers(positions) for positions in ((0, 1), (0, 1), (2, 0)))
    return tuple(
        str(name)
        for name, layout, one, same, other in zip(
            runner.outputs, layouts, first, again, elsewhere, strict=True
        )
        if layout is not None and _alike(one, same, 0.0) and not _alike(one, other, SHARE)
    )


def _alike(one: np.ndarray, other: np.ndarray, share: float) -> bool:
    """Args: share: of the largest number that floats may differ by."""
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    largest = np.abs(one[np.isfinite(one)]).max(initial=0.0)
    return np.allclose(one, other, rtol=0.0, atol=share * largest, equal_nan=True)
