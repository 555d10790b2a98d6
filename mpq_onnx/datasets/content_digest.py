"""A hash of the examples that were read, so that a result can say what it was made from."""

import hashlib

from mpq_onnx.datasets.base import Batch


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
