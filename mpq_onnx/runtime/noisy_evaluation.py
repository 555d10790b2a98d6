"""Evaluate a noisy ONNX file: repeated passes with independent noise, the same for the same seed on any number of cores.

onnxruntime draws normals on one core. So every repeat (and, for few repeats, every share of the batches) runs in a session of
its own with seeds of its own, one thread a session, as many at a time as there are cores.
"""

import dataclasses
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from tqdm import tqdm

from mpq_onnx.datasets import Dataset
from mpq_onnx.graph.example_layout import ExampleLayout
from mpq_onnx.model_file import clone
from mpq_onnx.passes.reseed_noise import ReseedNoisePass
from mpq_onnx.runtime.evaluation import BATCH_SIZE, Evaluation, by_example
from mpq_onnx.runtime.session import Runner, providers
from mpq_onnx.runtime.statistics import Spread
from mpq_onnx.runtime.tally import Answers, Tally
from mpq_onnx.runtime.tensors import output_layouts

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
        theirs = output_layouts(baseline, dataset)
        exact = [
            by_example(baseline.run(batch.inputs), theirs, batch) for batch in dataset.batches(batch_size)
        ]
    shares = -(-FEWEST_STREAMS // repeats)
    streams = [_Stream(repeat, share, shares) for repeat in range(repeats) for share in range(shares)]
    on_cpu = providers(device) == ["CPUExecutionProvider"]
    workers = min(len(streams), _cores()) if on_cpu else 1
    layouts = output_layouts(Runner(model, device, where=where), dataset)
    work = _Work(model, dataset, seed, device, batch_size, where, 1 if on_cpu else 0, layouts)
    pooled = Tally(dataset, repeats)
    values: dict[str, list[float]] = {}
    seconds = 0.0
    with ThreadPoolExecutor(workers) as pool:
        results = tqdm(
            pool.map(work.run, streams), "evaluate", len(streams), disable=None, leave=False, unit="stream"
        )
        for share in _by_repeat(results, shares):
            once = Tally(dataset)
            seconds += share.seconds
            for index, answers in share.batches:
                if exact is not None:
                    answers = dataclasses.replace(answers, exact=exact[index])
                for tally in (pooled, once):
                    tally.update(answers)
            for name, metric in once.metrics.items():
                values.setdefault(name, []).append(metric.value)
    return Evaluation(
        examples=len(dataset),
        metrics=pooled.metrics,
        labels=pooled.labels,
        examples_per_second=repeats * len(dataset) * workers / max(seconds, 1e-9),
        comparison=pooled.comparison,
        noise={name: Spread.of(each) for name, each in values.items()},
    )


@dataclass(frozen=True)
class _Counted:
    """What streams made."""

    batches: list[tuple[int, Answers]]
    """By batch index."""
    seconds: float
    """Inside onnxruntime."""


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
    layouts: list[ExampleLayout | None]
    """Of the outputs."""

    def run(self, stream: _Stream) -> _Counted:
        reseeded = clone(self.model)
        ReseedNoisePass(stream.seed(self.seed))(reseeded)
        runner = Runner(reseeded, self.device, where=self.where, threads=self.threads)
        batches, seconds, size = [], 0.0, self.batch_size
        for index in range(stream.share, -(-len(self.dataset) // size), stream.shares):
            batch = self.dataset.read(range(index * size, min((index + 1) * size, len(self.dataset))))
            start = time.perf_counter()
            outputs = runner.run(batch.inputs)
            seconds += time.perf_counter() - start
            answers = by_example(outputs, self.layouts, batch)
            batches.append((index, Answers(answers, None, batch.labels, batch.groups)))
        return _Counted(batches, seconds)


def _by_repeat(results: Iterable[_Counted], shares: int) -> Iterator[_Counted]:
    """Batches of one repeat after the other, in order."""
    gathered: list[_Counted] = []
    for each in results:
        gathered.append(each)
        if len(gathered) == shares:
            batches = sorted((b for share in gathered for b in share.batches), key=lambda entry: entry[0])
            yield _Counted(batches, sum(share.seconds for share in gathered))
            gathered = []


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
