"""Does a network look at one example to answer another? Then its figures are those of the batches that were run.

A sum or softmax over the examples, a state that goes on from one to the next, a range taken of the whole batch.
"""

from collections.abc import Sequence

import numpy as np

from mpq_onnx.datasets import Dataset
from mpq_onnx.graph.example_layout import ExampleLayout, examples_or_whole
from mpq_onnx.runtime.session import Runner

FEWEST, MOST = 3, 8
"""Examples in a batch that is looked at."""
SHARE = 1e-3
"""Of an output's largest number: kernels may add up in another order at another place of a batch,"""
SHARE_OF_SIZES = 0.03
"""and are others for another size, after which a quantizer may round to the next level."""


def mixing_outputs(
    runner: Runner, layouts: Sequence[ExampleLayout | None], dataset: Dataset, batch_size: int
) -> tuple[str, ...]:
    """The outputs that differ for an example at another place of a batch, or alone; none that differ from run to run (noise).

    Args:
        layouts: of the outputs.
        batch_size: of the batches that are evaluated.
    """
    count = min(max(batch_size, FEWEST), MOST, len(dataset))
    if count < FEWEST or any(each.fixed_batch for each in dataset.inputs):
        return ()

    def answers(positions: Sequence[int]) -> list[np.ndarray]:
        """Of the first example, in the batch of the examples at `positions`."""
        outputs = runner.run(dataset.read(positions).inputs)
        place, examples = positions.index(0), len(positions)
        return [
            _answer(examples_or_whole(output, layout, examples), place, examples)
            for output, layout in zip(outputs, layouts, strict=True)
        ]

    batch = range(count)
    found = [answers(positions) for positions in (batch, batch, batch[::-1], range(1))]
    return tuple(
        str(name)
        for name, layout, first, again, elsewhere, alone in zip(runner.outputs, layouts, *found, strict=True)
        if layout is not None
        and layout.told
        and _alike(first, again, 0.0)
        and not (_alike(first, elsewhere, SHARE) and _alike(first, alone, SHARE_OF_SIZES))
    )


def _answer(output: np.ndarray, place: int, examples: int) -> np.ndarray:
    """That of one example; all of what is not split into examples."""
    return output[place] if output.ndim and len(output) == examples else output


def _alike(one: np.ndarray, other: np.ndarray, share: float) -> bool:
    """Args: share: of the largest number that floats may differ by."""
    if one.shape != other.shape:
        return True  # as many as the data have: nothing to compare
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    largest = np.abs(one[np.isfinite(one)]).max(initial=0.0)
    return np.allclose(one, other, rtol=0.0, atol=share * largest, equal_nan=True)
