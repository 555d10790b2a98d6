"""Calibration: stream a data set through onnxruntime and watch every activation that gets a quantizer."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from mpq_onnx.arithmetic.observers import Observer, extremes
from mpq_onnx.arithmetic.observers.histogram_observer import HistogramObserver
from mpq_onnx.arithmetic.observers.min_max import MinMaxObserver
from mpq_onnx.arithmetic.observers.range_search import squared_error
from mpq_onnx.arithmetic.observers.streaming_histogram import StreamingHistogram
from mpq_onnx.arithmetic.quantization import ASYMMETRIC, SCHEMES, is_empty, levels_of
from mpq_onnx.datasets import Dataset
from mpq_onnx.documents.calibration import WIDTHS, Calibration, TensorCalibration
from mpq_onnx.errors import DataError, PluginError
from mpq_onnx.graph.batch_memory import elements_of, examples_at_once
from mpq_onnx.graph.fingerprint import fingerprint
from mpq_onnx.progress import watched
from mpq_onnx.ranks import Ranks
from mpq_onnx.registries import OBSERVERS
from mpq_onnx.runtime.session import Runner
from mpq_onnx.runtime.tensors import read_tensors, runner_with_outputs
from mpq_onnx.threads import side_by_side

BATCH_SIZE = 64
"""At most."""
BATCH_MEMORY = 2**28
"""Bytes of all tensors of a batch."""
WIDEST_SEARCHED = 8
"""Above 8 bits the clipping error outweighs the rounding error in any search, and the whole range is kept."""

_Summary = tuple[np.ndarray, np.ndarray]
"""Of one batch of one tensor: its ends, and what its observer says of it."""


def calibrate(
    model: ir.Model,
    tensors: Sequence[str],
    dataset: Dataset,
    shapes: Mapping[str, tuple[int, ...]],
    observer: str = "mse",
    device: str = "auto",
    scheme: str = ASYMMETRIC,
) -> Calibration:
    """Ranges and quantization errors of `tensors` of a float model, by bit width.

    Memory is that of one batch and one histogram a tensor, whatever the number of batches. Ranks go through the batches side by
    side, and find the very ranges of one process.

    Args:
        shapes: shape of every tensor for one example.
        observer: a name in registries.OBSERVERS.
        scheme: a name in arithmetic.quantization.SCHEMES.

    Raises:
        DataError: NaN or infinity in a tensor; names it.
    """
    watchers = {name: _Watcher(_observer(observer), scheme) for name in tensors}
    runner = runner_with_outputs(model, tensors, device)
    elements = elements_of(shapes[name] for name in tensors)
    batch_size = examples_at_once(elements, BATCH_SIZE, BATCH_MEMORY)
    _watch(list(watchers.values()), _values(runner, tensors, dataset, batch_size), dataset.ranks)
    for watcher in watchers.values():
        watcher.merge(dataset.ranks)
    results = side_by_side(lambda name: watchers[name].result(shapes[name]), tensors)
    return Calibration(
        model=fingerprint(model),
        observer=observer,
        scheme=scheme,
        examples=len(dataset),
        tensors=dict(zip(tensors, results, strict=True)),
        shapes=dict(shapes),
    )


def _values(
    runner: Runner, tensors: Sequence[str], dataset: Dataset, batch_size: int
) -> Iterator[list[np.ndarray]]:
    """What the tensors hold in every batch of this rank."""
    count = len(dataset.ranks.own(dataset.parts(batch_size)))
    for batch in watched(dataset.own_batches(batch_size), "calibrate", count):
        arrays = read_tensors(runner, tensors, batch.inputs)
        for name, array in zip(tensors, arrays, strict=True):
            if not np.isfinite(array).all():
                raise DataError(
                    f"{dataset.name}: tensor {name} becomes NaN or infinite; check data and model"
                )
        yield arrays


def _watch(watchers: Sequence["_Watcher"], values: Iterator[list[np.ndarray]], ranks: Ranks) -> None:
    """Show every batch to the watchers: its summary on all ranks, in the order of the batches, its values on its own."""
    while True:
        own = next(values, None)
        summaries = ranks.gather(None if own is None else _summaries(watchers, own))
        if summaries[0] is None:  # the first rank has no fewer batches than others
            return
        _take_in(watchers, summaries, own, ranks.rank)


def _summaries(watchers: Sequence["_Watcher"], values: Sequence[np.ndarray]) -> list[_Summary]:
    return side_by_side(lambda pair: pair[0].summary(pair[1]), list(zip(watchers, values, strict=True)))


def _take_in(
    watchers: Sequence["_Watcher"],
    summaries: Sequence[list[_Summary] | None],
    own: list[np.ndarray] | None,
    own_rank: int,
) -> None:
    """One batch of every rank, in their order; each watcher by itself."""

    def take_in(index: int) -> None:
        for rank, found in enumerate(summaries):
            if found is not None:
                watchers[index].follow(found[index])
            if own is not None and rank == own_rank:
                watchers[index].count(own[index])

    side_by_side(take_in, range(len(watchers)))


def _observer(name: str) -> Observer:
    """A new one, of ours or of another package."""
    found = OBSERVERS[name]()
    if not isinstance(found, Observer):
        raise PluginError(
            f"observer {name}: gave {type(found).__name__}, not an mpq_onnx.arithmetic.observers.Observer;"
            " docs/plugins.md says what it must give"
        )
    return found


class _Watcher:
    """An observer for the range, and a histogram for the error that this range leaves."""

    def __init__(self, observer: Observer, scheme: str) -> None:
        self.observer = observer
        self.scheme = scheme
        self.extremes = MinMaxObserver()
        self.shared = isinstance(observer, HistogramObserver)
        self.histogram = (
            observer.histogram if isinstance(observer, HistogramObserver) else StreamingHistogram()
        )

    def summary(self, values: np.ndarray) -> _Summary:
        """Of one batch."""
        ends = extremes(values)
        return ends, (ends if self.shared else self.observer.summary(values))

    def follow(self, summary: _Summary) -> None:
        """Take in that of the next batch."""
        ends, own = summary
        self.extremes.follow(ends)
        self.observer.follow(own)
        if not self.shared:
            self.histogram.reach(float(max(-ends[0], ends[1], 0.0)))

    def count(self, values: np.ndarray) -> None:
        """Take in its values."""
        self.observer.count(values)
        if not self.shared:
            self.histogram.count(values)

    def merge(self, ranks: Ranks) -> None:
        """Take in what the other ranks have counted."""
        self.observer.merge(ranks)
        if not self.shared:
            self.histogram.merge(ranks)

    def result(self, shape: tuple[int, ...]) -> TensorCalibration:
        scheme = SCHEMES[self.scheme]
        whole = self.extremes.range(0, scheme)
        ranges = [
            self.observer.range(levels_of(bits), scheme) if bits <= WIDEST_SEARCHED else whole
            for bits in WIDTHS
        ]
        # Where nearly all values are zero an observer may see nothing else: a rare signal is a signal still.
        ranges = [whole if is_empty(*map(np.float32, ends)) else ends for ends in ranges]
        return TensorCalibration(
            tuple(shape),
            *whole,
            tuple(ranges),
            tuple(self._error(*ranges[bits - 1], bits) for bits in WIDTHS),
            self.scheme,
        )

    def _error(self, low: float, high: float, bits: int) -> float:
        centres, counts = self.histogram.occupied()
        if not centres.size:
            return 0.0
        levels = np.array([levels_of(bits)], np.float32)
        ends = np.array([low], np.float32), np.array([high], np.float32)
        values = centres[None].astype(np.float32)
        error = squared_error(values, *ends, levels, counts[None], SCHEMES[self.scheme])
        return float(error[0] / counts.sum())
