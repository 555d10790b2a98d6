"""What tests of clusters need on the workers, which import it by this name."""

import os
import signal
import threading
from pathlib import Path

import numpy as np

from mpq_onnx.cluster.parcels import Parcel

IMAGES = np.random.default_rng(3).standard_normal((64, 3, 12, 12)).astype(np.float32)


class Hidden(Parcel):
    """Of files that workers do not see where the caller has them."""

    def lies_in(self, folder: Path) -> bool:
        return folder != Path(self.folder) and super().lies_in(folder)


def images() -> dict[str, np.ndarray]:
    return {"images": IMAGES, "labels": np.arange(64) % 6}


def deadly() -> dict[str, np.ndarray]:
    """Kills the worker that has a run on it."""
    # The caller opens data in its main thread, and a worker is looked at in one of asyncio.
    if not threading.current_thread().name.startswith(("MainThread", "asyncio")):
        os.kill(os.getpid(), signal.SIGKILL)
    return images()
