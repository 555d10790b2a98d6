"""digits - scikit-learn's 1797 handwritten digits, 8 by 8 pixels, in a fixed shuffled order."""

from collections.abc import Sequence

import numpy as np

from mpq_onnx.datasets.base import Batch, Examples, Facts
from mpq_onnx.datasets.spec import DataSpec
from mpq_onnx.graph.model_inputs import ModelInput

SHUFFLE_SEED = 0
"""The file is ordered by writer; one fixed shuffle makes every range of it representative."""


def open_examples(spec: DataSpec, inputs: tuple[ModelInput, ...], facts: Facts) -> Examples:
    """Pixels in [0, 1], shaped as the model's input wants them (1x8x8, 8x8 or 64)."""
    from sklearn.datasets import load_digits  # scikit-learn is slow to load

    data = load_digits()
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(data.target))
    images = (data.images[order] / 16).astype(np.float32)
    labels = data.target[order].astype(np.int64)
    rank = len(inputs[0].shape) if inputs[0].shape is not None else 4
    images = {2: images.reshape(-1, 64), 3: images}.get(rank, images[:, None])

    def read(indices: Sequence[int]) -> Batch:
        chosen = np.asarray(indices)
        return Batch({inputs[0].name: images[chosen]}, labels[chosen])

    return Examples(len(labels), True, read)
