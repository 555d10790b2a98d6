"""Candidates of an allocation proposed, written and measured, all in the same way, and the one of them that is kept."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import onnx_ir as ir

from mpq_onnx.arithmetic.quantized_network import QuantizedNetwork
from mpq_onnx.errors import PluginError
from mpq_onnx.graph.batch_memory import give_back_memory
from mpq_onnx.precision.methods.uniform import NAME as UNIFORM
from mpq_onnx.precision.methods.uniform import WHOLE_NAME as WHOLE_UNIFORM
from mpq_onnx.precision.problem import Candidate, Problem
from mpq_onnx.registries import METHODS
from mpq_onnx.runs.keeping import best_of
from mpq_onnx.runtime.evaluation import Evaluation

UNIFORMS = (UNIFORM, WHOLE_UNIFORM)
Document = TypeVar("Document")
"""Of the allocation: Allocation or EnergyAllocation."""


@dataclass(frozen=True)
class CandidateResult(Generic[Document]):
    """One set of widths or energies, written and measured."""

    name: str
    """Of the method that found them."""
    allocation: Document
    distance: float
    """Mean distance of the outputs from the original model's on validation data (see task_loss.distance_from_float)."""
    evaluation: Evaluation
    """By onnxruntime, on validation data, against the original model."""
    resources: Mapping[str, float] = field(default_factory=dict)
    """What a device counts (see registries.RESOURCES), and the columns of a cost table."""


@dataclass(frozen=True)
class Finished(Generic[Document]):
    """A measured candidate."""

    candidate: Candidate
    result: CandidateResult[Document]
    network: QuantizedNetwork | None = None
    """Of widths: the numbers that were written."""


class Bench(ABC, Generic[Document]):
    """Measures the candidates of one problem."""

    problem: Problem

    @abstractmethod
    def allocation(self, candidate: Candidate) -> Document:
        """What the candidate chooses, as a document."""

    @abstractmethod
    def measure(self, candidate: Candidate) -> Finished[Document]:
        """Write and evaluate it."""

    @abstractmethod
    def graph(self, finished: Finished[Document]) -> ir.Model:
        """The graph to be written."""

    def propose(self, method: str) -> list[Candidate]:
        """Uniform first, then what the method proposes; equal levels of one name once."""
        found: list[Candidate] = []
        for name in dict.fromkeys((UNIFORM, method)):
            for candidate in _proposed(name, self.problem):
                if not any(known.name == candidate.name and known.same_levels(candidate) for known in found):
                    found.append(candidate)
        give_back_memory()
        return found

    def measure_all(self, candidates: Sequence[Candidate]) -> list[Finished[Document]]:
        """Equal levels are measured once, and share what was found."""
        done: list[Finished[Document]] = []
        for candidate in candidates:
            same = next((each for each in done if each.candidate.same_levels(candidate)), None)
            done.append(self.measure(candidate) if same is None else self._renamed(same, candidate))
            give_back_memory()
        return done

    def _renamed(self, finished: Finished[Document], candidate: Candidate) -> Finished[Document]:
        allocation = self.allocation(candidate)
        result = dataclasses.replace(finished.result, name=candidate.name, allocation=allocation)
        return Finished(candidate, result, finished.network)


def _proposed(name: str, problem: Problem) -> Sequence[Candidate]:
    """What a method proposes, ours or another package's."""
    found = METHODS[name](problem)
    if not isinstance(found, Sequence) or not all(isinstance(each, Candidate) for each in found):
        raise PluginError(
            f"method {name}: gave {type(found).__name__}, not a list of mpq_onnx.precision.problem.Candidate;"
            " docs/plugins.md says what it must give"
        )
    return found


@dataclass(frozen=True)
class Choice(Generic[Document]):
    """What is kept of all that was measured."""

    kept: Finished[Document]
    measured: tuple[Finished[Document], ...]
    """Uniform first."""

    @property
    def uniform(self) -> CandidateResult[Document]:
        """The baseline at the same budget."""
        return self.measured[0].result

    @property
    def uniform_whole(self) -> CandidateResult[Document] | None:
        """The allowed levels below it, where its own are none of those."""
        return next((each for each in self.results if each.name == WHOLE_UNIFORM), None)

    @property
    def results(self) -> tuple[CandidateResult[Document], ...]:
        """All of them."""
        return tuple(each.result for each in self.measured)

    @property
    def keeps_uniform(self) -> bool:
        """What is kept is the baseline."""
        return self.kept.result.name in UNIFORMS

    @property
    def others(self) -> list[str]:
        """Names of what a method found that is not what is kept."""
        own = self.kept.result.evaluation
        return [
            each.name for each in self.results if each.evaluation is not own and each.name not in UNIFORMS
        ]

    @property
    def notes(self) -> tuple[str, ...]:
        """Of what was proposed."""
        return tuple(each.candidate.note for each in self.measured if each.candidate.note is not None)

    @property
    def loses_to_uniform(self) -> bool:
        """What the asked-for method found was worse than uniform, which is kept instead."""
        return self.keeps_uniform and bool(self.others)


def choose(
    measured: Sequence[Finished[Document]], storable: Callable[[Document], bool] = lambda document: True
) -> Choice[Document]:
    """The best of `measured`, of which uniform is the first, among those that can be stored (see keeping)."""
    results = [each.result for each in measured]
    eligible = [each for each in results if storable(each.allocation)] or results
    kept = best_of(results[0], eligible)
    return Choice(next(each for each in measured if each.result is kept), tuple(measured))


def kept_note(choice: Choice[Document], method: str, what: str) -> str | None:
    """Why the baseline is kept, where it is; `what` is what was allocated."""
    name = choice.kept.result.name
    if choice.others and choice.keeps_uniform:
        return f"{name} is kept: {', '.join(choice.others)} did no better on the validation data"
    if choice.keeps_uniform and method != UNIFORM:
        return f"{name} is kept: {method} found the same {what}"
    return None
