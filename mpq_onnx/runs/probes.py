"""The probes of a search, one after the other in this process or side by side on workers."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from mpq_onnx.cluster.crew import Crew, Job, LostError, crew
from mpq_onnx.cluster.opening import Workers
from mpq_onnx.datasets import InMemory
from mpq_onnx.errors import ClusterError, MpqOnnxError, UsageError, one_line
from mpq_onnx.files import here
from mpq_onnx.graph.given_model import GivenModel
from mpq_onnx.graph.model_file import save_model
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.progress import begin
from mpq_onnx.runs.allocating import allocate
from mpq_onnx.runs.energy_options import EnergyOptions
from mpq_onnx.runs.evaluating import evaluate
from mpq_onnx.runs.goals import Drop, Goal
from mpq_onnx.runs.learning_options import LearningOptions
from mpq_onnx.runs.noise_bench import NoiseBench
from mpq_onnx.runs.noisy_graph import load_noise_free
from mpq_onnx.runs.options import AllocateOptions
from mpq_onnx.runs.probing import Figures, Prober, figures, probe_folder
from mpq_onnx.runs.results import ENERGY_FILE, MODEL_FILE
from mpq_onnx.runs.run_folder import receive
from mpq_onnx.runs.travel import Needs, kit_for

WEIGHT_BITS, ENERGY_PER_MAC = "weight_bits", "energy_per_mac"
FROM, TO = "--from", "--to"
BETWEEN = f"a budget between {FROM} and {TO}, "
"""What messages call a probe's."""
Options = TypeVar("Options", bound=LearningOptions)

Probing = Callable[[SharedWork, float, str], Figures]
"""probe(shared, budget, place): allocate at a budget, into the folder `place`, and measure on the test data."""


@dataclass(frozen=True)
class Minimized(Generic[Options]):
    """What of an allocation is as small as can be: one of its means, or a resource."""

    what: str
    means: Mapping[str, float | None]
    """The other budgets beside `options.max`, by the argument's name."""
    options: Options

    def check(self, option: str, budget: float, check: Callable[..., None]) -> None:
        """Raise UsageError for a budget that no choice of levels keeps.

        Args:
            option: that the budget was given by.
            check: what the allocation itself raises it by; takes what `at` gives.
        """
        if self.means.get(self.what) is not None:
            raise UsageError(
                f"--{self.what.replace('_', '-')} is what such a search finds; give --from and --to, or --minimize another"
            )
        if self.what in self.options.limits:
            raise UsageError(f"--max {self.what}: is what the search finds; give --from and --to")
        with self.in_words_of_a_search(option, budget):
            check(**self.at(budget))

    @contextlib.contextmanager
    def in_words_of_a_search(self, option: str, budget: float) -> Iterator[None]:
        """What an allocation at a budget is refused with names the options of a search in place of its own."""
        spelled = f"--{self.what.replace('_', '-')} " if self.what in self.means else f"--max {self.what}="
        try:
            yield
        except UsageError as error:
            said = str(error).replace(f"{spelled}{budget:.6g}", f"{option} {budget:.6g}")
            raise UsageError(said.replace(f"--max {self.what}:", f"--minimize {self.what}:")) from error

    def at(self, budget: float) -> dict[str, Any]:
        """The arguments of allocate, or allocate_energy, that say what may be spent."""
        if self.what in self.means:
            return {**self.means, self.what: budget, "options": self.options}
        limited = dataclasses.replace(self.options, max=(*self.options.max, f"{self.what}={budget!r}"))
        return {**self.means, "options": limited}


@dataclass(frozen=True)
class BitsProbe:
    """An allocation of widths; see search_bits for the fields."""

    model: str | GivenModel
    data: str | InMemory
    test: str | InMemory
    validation: str | InMemory | None
    calibration: str | None
    goals: tuple[Goal | Drop, ...]
    spent: Minimized[AllocateOptions]

    def __call__(self, shared: SharedWork, budget: float, place: str) -> Figures:
        """See Probing."""
        with self.spent.in_words_of_a_search(BETWEEN, budget):
            result = allocate(
                self.model,
                self.data,
                place,
                **self.spent.at(budget),
                calibration=self.calibration,
                validation=self.validation,
                overwrite=True,  # what an interrupted probe has left
                shared=shared,
            )
        device = self.spent.options.device
        found = evaluate(result.model_path, self.test, baseline=self.model, device=device).evaluation
        return figures(found, self.goals)


@dataclass(frozen=True)
class EnergyProbe:
    """An allocation of energies, on one bench a process; see search_energy for the fields."""

    model: str | GivenModel
    """Noise-free."""
    data: str | InMemory
    test: str | InMemory
    validation: str | InMemory | None
    goals: tuple[Goal | Drop, ...]
    spent: Minimized[EnergyOptions]

    def __call__(self, shared: SharedWork, budget: float, place: str) -> Figures:
        """See Probing."""
        bench = shared.once("bench", lambda: self._bench(shared.part("noisy")))
        test_set = shared.once("test", lambda: bench.base.open_data(self.test))
        folder = here(place)
        with self.spent.in_words_of_a_search(BETWEEN, budget):
            at_budget = bench.at(**self.spent.at(budget), progress=folder)
        allocation = at_budget.allocation(at_budget.best())
        allocation.save(folder / ENERGY_FILE)
        save_model(bench.graph(allocation), folder / MODEL_FILE)
        return figures(bench.evaluate(allocation, test_set, self.spent.options.repeats), self.goals)

    def _bench(self, shared: SharedWork) -> NoiseBench:
        base = load_noise_free(self.model)
        held_out = base.open_data(self.validation) if self.validation is not None else None
        return NoiseBench(base, base.open_data(self.data), held_out, self.spent.options, shared)


@contextlib.contextmanager
def prober(workers: Workers, folder: Path, probe: Probing, needs: Needs) -> Iterator[Prober]:
    """Who does the probes of a search.

    Args:
        needs: what workers have to have for them.

    Raises:
        UsageError, ClusterError: no workers can be had.
    """
    if workers.here_alone:
        yield _InTurn(folder, probe)
        return
    with crew(workers, lambda is_local: kit_for(probe, needs, is_local)) as found:
        yield _Spread(folder, found)


class _InTurn:
    """In this process."""

    at_once = 1

    def __init__(self, folder: Path, probe: Probing) -> None:
        self.folder, self.probe, self.shared = folder, probe, SharedWork()

    def measure(self, budgets: Sequence[float]) -> Iterator[tuple[float, Figures]]:
        """See Prober."""
        for budget in budgets:
            begin(f"probe at a budget of {budget:g}")
            place = probe_folder(self.folder, budget)
            place.mkdir(parents=True, exist_ok=True)
            yield budget, self.probe(self.shared, budget, str(place))


class _Spread:
    """On workers."""

    def __init__(self, folder: Path, found: Crew) -> None:
        self.folder, self.crew = folder, found

    @property
    def at_once(self) -> int:
        """See Prober."""
        return self.crew.size

    def measure(self, budgets: Sequence[float]) -> Iterator[tuple[float, Figures]]:
        """See Prober.

        Raises:
            MpqOnnxError: a probe's, when the others of the same round have ended.
        """
        jobs = {}
        for budget in budgets:
            begin(f"probe at a budget of {budget:g}")
            place = str(probe_folder(self.folder, budget))
            jobs[Job(f"probe {budget:g}", place, (budget, place))] = budget
        failed: dict[str, Exception] = {}
        for outcome in self.crew.do(list(jobs)):
            if outcome.error is not None:
                failed[outcome.job.name] = outcome.error
                continue
            receive(outcome.files, Path(outcome.job.folder))
            yield jobs[outcome.job], outcome.value
        for name, error in failed.items():
            raise _said(name, error)


def _said(name: str, error: Exception) -> Exception:
    """A probe's error as the search ends with it."""
    if isinstance(error, MpqOnnxError):
        return error
    if isinstance(error, LostError):
        return ClusterError(f"{name}: {error}")
    return ClusterError(f"{name}: unforeseen {type(error).__name__}: {one_line(error)}")
