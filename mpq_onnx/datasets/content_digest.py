"""A hash of the examples, so that a result can say what it was made from, and work is not gone on with on other data."""

import hashlib

import numpy as np

from mpq_onnx.datasets.base import Batch, Dataset
from mpq_onnx.datasets.identity import keys_of


class ContentDigest:
    """SHA-256 over inputs and labels, batch by batch; of the batches' sizes too, which readers keep the same."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, batch: Batch) -> None:
        """Take in one batch."""
        for name in sorted(batch.inputs):
            self._digest.update(name.encode())
            self._digest.update(batch.inputs[name].tobytes())
        if batch.labels is not None:
            self._digest.update(batch.labels.tobytes())

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def dataset_digest(dataset: Dataset) -> str:
    """SHA-256 of what `dataset` holds and how it is read, before any batch is read and whatever its order.

    Files that are opened when they are wanted count by name, size and time of change.
    """
    examples = dataset.examples
    keys = keys_of(examples.describe_version or examples.described, dataset.indices)
    digest = hashlib.sha256(repr((dataset.task, examples.together, examples.setup)).encode())
    digest.update(np.sort(keys).tobytes())
    return digest.hexdigest()
