"""A Runner that computes the outputs of the same inputs once: the float model, beside which every candidate is measured."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from mpq_onnx.errors import DataError
from mpq_onnx.runtime.session import Runner

MOST_BYTES = 2**28
"""Of outputs that are kept."""
ARENA = "cpu:0"
GIVE_BACK = "memory.enable_memory_arena_shrinkage"
"""After each run, what the session worked in: it waits for long between few of them."""


class RememberingRunner(Runner):
    """Of a model without randomness; its session is another Runner's, whose runs take the time that they take."""

    def __init__(self, runner: Runner) -> None:
        vars(self).update(vars(runner))
        self.run_options = ort.RunOptions()
        self.run_options.add_run_config_entry(GIVE_BACK, ARENA)
        self._known: dict[tuple[Any, ...], list[np.ndarray]] = {}
        self._bytes = 0

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> list[np.ndarray]:
        """See Runner."""
        wanted = tuple(self.outputs if outputs is None else outputs)
        key = (wanted, *(_content(name, feeds[name]) for name in self.inputs if name in feeds))
        if key in self._known:
            return [*self._known[key]]
        found = super().run(feeds, outputs)
        size = sum(array.nbytes for array in found)
        if self._bytes + size <= MOST_BYTES:
            self._bytes += size
            self._known[key] = found
        return [*found]

    def _run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None) -> list[np.ndarray]:
        try:
            return super()._run(feeds, outputs)
        except DataError as error:
            if "arena" not in str(error):
                raise
        self.run_options = None  # a build of onnxruntime that keeps nothing
        return super()._run(feeds, outputs)


def _content(name: str, array: np.ndarray) -> tuple[Any, ...]:
    digest = hashlib.blake2b(array.tobytes(), digest_size=16).digest()
    return name, array.shape, array.dtype.str, digest
