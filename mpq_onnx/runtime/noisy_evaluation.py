"""Evaluate a noisy ONNX file: repeated passes with independent noise, the same for the same seed on any number of cores.

onnxruntime draws normals on one core. So every repeat (and, for few repeats, every share of the batches) runs in a session of
its own with seeds of its own, one thread a session, as many at a time as there are cores.
"""

import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from tqdm import tqdm

from mpq_onnx.datasets import Dataset
from mpq_onnx.model_file import clone, model_bytes
from mpq_onnx.passes.reseed_noise import ReseedNoisePass
from mpq_onnx.runtime.evaluation import BATCH_SIZE, Evaluation
from mpq_onnx.runtime.metrics import Spread
from mpq_onnx.runtime.session import Runner, providers
from mpq_onnx.runtime.tally import Outputs, Tally

FEWEST_STREAMS = 4
"""Independent noise streams at least, so that few repeats keep several cores busy too."""


@dataclass(frozen=True)
class _Stream:
    """One session's share of one repeat."""

    repeat: int
    share: int
    shares: int

    def seed(self, seed: int) -> int:
        return int(np.random.SeedSequence([seed, self.repeat, self.share]).generate_state(1)[0])


def evaluate_noisy(
    model: ir.Model,
    dataset: Dataset,
    baseline: Runner | None = None,
    *,
    repeats: int,
    seed: int,
    device: str = "auto",
    batch_size: int = BATCH_SIZE,
    where: str = "the noisy model",
) -> Evaluation:
    """Run `dataset` through a noisy model `repeats` times, each with noise of its own.

    Raises:
        DataError: labels that do not fit the outputs, or data that does not fit the model.
    """
    exact = None
    if baseline is not None:
        exact = [baseline.run(batch.inputs) for batch in dataset.batches(batch_size)]
    shares = -(-FEWEST_STREAMS // repeats)
    streams = [_Stream(repeat, share, shares) for repeat in range(repeats) for share in range(shares)]
    on_cpu = providers(device) == ["CPUExecutionProvider"]
    workers = min(len(streams), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    work = _Work(model, dataset, seed, device, batch_size, where, threads=1 if on_cpu else 0)
    pooled = Tally(dataset, repeats)
    values: dict[str, list[float]] = {}
    seconds = time.perf_counter()
    with ThreadPoolExecutor(workers if on_cpu else 1) as pool:
        results = tqdm(
            pool.map(work.run, streams), "evaluate", len(streams), disable=None, leave=False, unit="stream"
        )
        for batches in _by_repeat(results, shares):
            once = Tally(dataset)
            for index, outputs, labels in batches:
                for tally in (pooled, once):
                    tally.update(outputs, exact[index] if exact is not None else None, labels)
            for name, share in once.metrics.items():
                values.setdefault(name, []).append(share.value)
    seconds = time.perf_counter() - seconds
    return Evaluation(
        examples=len(dataset),
        metrics=pooled.metrics,
        labels=pooled.labels,
        examples_per_second=repeats * len(dataset) / max(seconds, 1e-9),
        comparison=pooled.comparison,
        noise={name: Spread.of(each) for name, each in values.items()},
    )


_Counted = tuple[int, Outputs, np.ndarray | None]
"""(batch index, outputs, labels)"""


@dataclass(frozen=True)
class _Work:
    """What every stream does."""

    model: ir.Model
    dataset: Dataset
    seed: int
    device: str
    batch_size: int
    where: str
    threads: int

    def run(self, stream: _Stream) -> list[_Counted]:
        reseeded = clone(self.model)
        ReseedNoisePass(stream.seed(self.seed))(reseeded)
        runner = Runner(model_bytes(reseeded), self.device, where=self.where, threads=self.threads)
        counted = []
        size = self.batch_size
        for index in range(stream.share, -(-len(self.dataset) // size), stream.shares):
            batch = self.dataset.read(range(index * size, min((index + 1) * size, len(self.dataset))))
            counted.append((index, runner.run(batch.inputs), batch.labels))
        return counted


def _by_repeat(results: Iterable[list[_Counted]], shares: int) -> Iterator[list[_Counted]]:
    """Batches of one repeat after the other, in order."""
    gathered: list[_Counted] = []
    for number, counted in enumerate(results, 1):
        gathered.extend(counted)
        if number % shares == 0:
            yield sorted(gathered, key=lambda entry: entry[0])
            gathered = []
