"""Evaluate a noisy ONNX file: repeated passes with independent noise, the same for the same seed on any number of cores.

onnxruntime draws normals on one core. So every repeat (and, for few repeats, every share of the batches) runs in a session of
its own with seeds of its own, one thread a session, as many at a time as there are cores; batches of another size, such as the
last, in one more.
"""

import dataclasses
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.errors import MpqOnnxError
from mpq_onnx.graph.batch_memory import elements_of, examples_at_once
from mpq_onnx.graph.example_layout import ExampleLayout
from mpq_onnx.graph.model_file import clone
from mpq_onnx.graph.model_inputs import open_batch_names
from mpq_onnx.passes.inferred_shapes import inferred_shapes
from mpq_onnx.passes.remove_noise import without_noise
from mpq_onnx.passes.reseed_noise import ReseedNoisePass
from mpq_onnx.progress import watched
from mpq_onnx.runtime.evaluation import BATCH_SIZE, Evaluation, by_example
from mpq_onnx.runtime.not_finite import NotFinite
from mpq_onnx.runtime.output_form import output_meaning
from mpq_onnx.runtime.part_figures import PartFigures
from mpq_onnx.runtime.session import CPU_PROVIDER, Runner, providers
from mpq_onnx.runtime.statistics import Difference, Estimate, Spread
from mpq_onnx.runtime.tally import Answers, Comparison, Tally, make_comparison
from mpq_onnx.runtime.tensors import common_layouts, examples_at_most, output_layouts, untold
from mpq_onnx.threads import cores

SESSION_MEMORY = 2**30
"""Bytes of all tensors of a batch, without noise; a session takes little more than that with it."""
FEWEST_STREAMS = 4
"""Independent noise streams at least, so that few repeats keep several cores busy too."""


@dataclass(frozen=True)
class _Stream:
    """One session's share of one repeat."""

    repeat: int
    share: int
    shares: int

    def seed(self, seed: int, examples: int) -> int:
        """Args: examples: of a batch; a session runs batches of one size."""
        entropy = [seed, self.repeat, self.share, examples]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])


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
    no_length: Collection[str] = (),
) -> Evaluation:
    """Run `dataset` through a noisy model `repeats` times, each with noise of its own; ranks share the streams.

    Args:
        batch_size: at most; fewer where more would not fit into memory.
        no_length: outputs whose length hangs on the data (see graph.post_processing).

    Raises:
        DataError: labels that do not fit the outputs, or data that does not fit the model.
    """
    noisy = Runner(model, device, where=where)
    batch_size = examples_at_once(_elements(model), batch_size, SESSION_MEMORY)
    exact = None
    layouts = theirs = untold(output_layouts(noisy, dataset), noisy.outputs, no_length)
    if baseline is not None:
        baseline = baseline.paired(noisy.outputs)
        layouts, theirs = common_layouts(layouts, output_layouts(baseline, dataset))
        batch_size = examples_at_most(baseline, theirs, dataset, batch_size)
        exact = dataset.ranks.in_order(
            by_example(baseline.run(batch.inputs), theirs, batch) for batch in dataset.own_batches(batch_size)
        )
    shares = -(-FEWEST_STREAMS // repeats)
    streams = [_Stream(repeat, share, shares) for repeat in range(repeats) for share in range(shares)]
    on_cpu = providers(device) == [CPU_PROVIDER]
    workers = min(len(streams), cores()) if on_cpu else 1
    work = _Work(model, dataset, seed, device, batch_size, where, 1 if on_cpu else 0, layouts)
    meaning = output_meaning(baseline or noisy, theirs, dataset, batch_size)

    def counted(results: Iterator[_Counted]) -> Evaluation:
        tallies: list[Tally] = []
        seconds = 0.0
        for share in _by_repeat(results, shares):
            tallies.append(Tally(dataset, meaning))
            seconds += share.seconds
            for index, answers in share.batches:
                if exact is not None:
                    answers = dataclasses.replace(answers, exact=exact[index])
                tallies[-1].update(answers)
        metrics = [tally.metrics for tally in tallies]
        comparisons = [tally.comparison for tally in tallies]
        comparison = _mean_comparison([each for each in comparisons if each is not None])
        return Evaluation(
            examples=len(dataset),
            metrics=_means(metrics),
            labels=tallies[0].labels,
            examples_per_second=repeats * len(dataset) * workers / max(seconds, 1e-9),
            comparison=comparison,
            noise=_spreads(metrics, comparison, [each for each in comparisons if each is not None]),
            taken_for=meaning.taken_for,
            mixed=meaning.mixed,
            classes=tallies[0].classes,
            one_hot_labels=tallies[0].one_hot_labels,
            not_finite=NotFinite.most([tally.not_finite for tally in tallies]),
        )

    own = dataset.ranks.own(streams)
    with ThreadPoolExecutor(workers) as pool:
        results = watched(pool.map(work.run, own), "evaluate with noise", len(own), "stream")
        return dataset.ranks.at_first(results, len(streams), counted)


def _elements(model: ir.Model) -> int:
    """Of all tensors of one example; 0 where the file's shapes do not tell."""
    try:
        return elements_of(inferred_shapes(without_noise(model)).values())
    except (MpqOnnxError, ValueError, LookupError, RuntimeError):
        return 0


def _means(repeats: Sequence[dict[str, Estimate]]) -> dict[str, Estimate]:
    """Of every metric that all repeats have."""
    return {
        name: Estimate.over_repeats([each[name] for each in repeats])
        for name in repeats[0]
        if all(name in each for each in repeats)
    }


def _mean_comparison(repeats: Sequence[Comparison]) -> Comparison | None:
    """Means of all that is compared; the worst part is the one whose mean is worst."""
    if not repeats:
        return None
    first = repeats[0]
    differences = [each.top1_difference for each in repeats if each.top1_difference is not None]
    agreements = [each.agreement for each in repeats if each.agreement is not None]
    difference = Estimate.over_repeats(differences) if differences else None
    assert difference is None or isinstance(difference, Difference)
    return make_comparison(
        first.metrics,
        difference,
        Estimate.over_repeats(agreements) if agreements else None,
        [PartFigures.over_repeats(each) for each in zip(*(found.parts for found in repeats), strict=True)],
        first.not_finite,
    )


def _spreads(
    metrics: Sequence[dict[str, Estimate]], comparison: Comparison | None, repeats: Sequence[Comparison]
) -> dict[str, Spread]:
    """Of every metric, of the agreement, and of the SQNR of the part whose mean is worst."""
    estimates = {
        name: [each[name] for each in metrics] for name in metrics[0] if all(name in each for each in metrics)
    }
    if comparison is not None:
        agreements: list[Estimate] = [each.agreement for each in repeats if each.agreement is not None]
        if agreements:
            estimates["agreement"] = agreements
        position = next(
            (index for index, part in enumerate(comparison.parts) if part.part == comparison.worst_part), None
        )
        if position is not None:
            sqnrs = [each.parts[position].sqnr for each in repeats]
            estimates["sqnr"] = [sqnr for sqnr in sqnrs if sqnr is not None]
    return {
        name: Spread.of([each.value for each in found], type(found[0]).LIMITS if found else Estimate.LIMITS)
        for name, found in estimates.items()
    }


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
        runners: dict[int, Runner] = {}
        batches, seconds, size = [], 0.0, self.batch_size
        for index in range(stream.share, -(-len(self.dataset) // size), stream.shares):
            positions = range(index * size, min((index + 1) * size, len(self.dataset)))
            batch = self.dataset.read(positions)
            if len(positions) not in runners:
                runners[len(positions)] = self._runner(stream, len(positions))
            runner = runners[len(positions)]
            start = time.perf_counter()
            outputs = runner.run(batch.inputs)
            seconds += time.perf_counter() - start
            answers = by_example(outputs, self.layouts, batch)
            batches.append((index, Answers(len(positions), answers, None, batch.labels, batch.groups)))
        return _Counted(batches, seconds)

    def _runner(self, stream: _Stream, examples: int) -> Runner:
        """For batches of one size, which is told to onnxruntime: it then computes what depends on shapes alone but once."""
        reseeded = clone(self.model)
        ReseedNoisePass(stream.seed(self.seed, examples))(reseeded)
        lengths = dict.fromkeys(open_batch_names(self.model), examples)
        return Runner(reseeded, self.device, where=self.where, threads=self.threads, lengths=lengths)


def _by_repeat(results: Iterable[_Counted], shares: int) -> Iterator[_Counted]:
    """Batches of one repeat after the other, in order."""
    gathered: list[_Counted] = []
    for each in results:
        gathered.append(each)
        if len(gathered) == shares:
            batches = sorted((b for share in gathered for b in share.batches), key=lambda entry: entry[0])
            yield _Counted(batches, sum(share.seconds for share in gathered))
            gathered = []
