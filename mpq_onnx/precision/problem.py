"""Precision, one idea: items that get a level each, what each level costs the task, and a budget for each kind of item.

Bits of weights, bits of activations and energies per MAC are three kinds. A kind brings its items and how a budget is spent on
them (a Side), what its levels cost (a CostMeter), and a mirror that learns them (a Learner); the methods know nothing else.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_onnx.graph.batch_memory import examples_at_once
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.precision.items import Items, Levels
from mpq_onnx.precision.recorder import Recorder
from mpq_onnx.precision.shared_work import SharedWork
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.precision.training_settings import TrainingSettings
from mpq_onnx.ranks import Ranks

Precision = dict[str, np.ndarray]
"""By kind: the level of every item, float64 [items]."""
Costs = dict[str, np.ndarray]
"""By kind: what the levels of every item cost, float64 [items, ...] (see each kind's CostMeter)."""
PASS_MEMORY = 3 * 2**28
"""Bytes that a forward and backward pass may keep of activations."""
WEIGHTS, ACTIVATIONS, ENERGIES = "weights", "activations", "energies"


class Side(Protocol):
    """One kind of item under its budget."""

    @property
    def items(self) -> Items:
        """What gets a level."""

    @property
    def allows_everything(self) -> bool:
        """The budget gives every item its highest level."""

    def uniform(self) -> np.ndarray:
        """One level for all that keeps the budget, float64 [items]."""

    def allowed_below(self, levels: np.ndarray) -> np.ndarray:
        """The highest allowed levels that are not above `levels` [items]."""

    def solve(self, costs: np.ndarray) -> np.ndarray:
        """Allowed levels [items] of least summed cost that keep the budget."""

    def project(self, learned: np.ndarray) -> np.ndarray:
        """Allowed levels [items] near to the learned ones that keep the budget."""

    def corrected(
        self, costs: np.ndarray, start: np.ndarray, learned: np.ndarray, share: float
    ) -> np.ndarray:
        """The costs that a share of the way from `start` to `learned` (both [items]) would follow from."""


class CostMeter(Protocol):
    """Adds up what the levels of one kind cost, batch by batch (see fisher)."""

    @property
    def kind(self) -> str:
        """WEIGHTS, ACTIVATIONS or ENERGIES."""

    @property
    def watched(self) -> Sequence[fx.Node]:
        """Nodes whose gradients are needed."""

    @property
    def readers(self) -> Collection[fx.Node]:
        """Nodes whose arguments are needed."""

    @property
    def batch_size(self) -> int:
        """Most examples of a batch."""

    def update(self, recorder: Recorder, gradients: Mapping[fx.Node, Tensor | None]) -> None:
        """Take in a batch; the gradients are those of its sampled log-likelihood."""

    def merge(self, ranks: Ranks) -> None:
        """Add what the other ranks took in."""

    def costs(self, examples: int) -> np.ndarray:
        """Mean over the examples, float64 [items, ...]."""


class Learner(Protocol):
    """A mirror in which the level of every item is a parameter."""

    @property
    def mirror(self) -> Mirror:
        """The changed one."""

    @property
    def generator(self) -> torch.Generator:
        """Of everything that a step draws."""

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is learned; logarithms."""

    def excess(self) -> Tensor:
        """How far the budgets are exceeded."""

    def clamp_(self) -> None:
        """Bring the parameters back into what is allowed."""

    def levels(self) -> Precision:
        """The levels as they are now."""

    def range_factors(self) -> dict[str, float]:
        """Learned factors on ranges by tensor; empty where none are learned."""

    def set_range_factors(self, factors: Mapping[str, float]) -> None:
        """The inverse; tensors without a factor keep their ranges."""

    def describe(self) -> str:
        """The state in a few words."""


@dataclass(frozen=True)
class Candidate:
    """Levels that keep the budgets."""

    name: str
    """How they were found."""
    levels: Mapping[str, Levels]
    """By kind."""
    range_factors: Mapping[str, float] = field(default_factory=dict)
    """Learned factors on the ranges of some tensors."""
    note: str | None = None
    """What became of a part of the method that a reader of the result should know."""

    @property
    def weights(self) -> Levels:
        """Widths by weight; empty where the weights stay float."""
        return self.levels.get(WEIGHTS, {})

    @property
    def activations(self) -> Levels:
        """Widths by activation; empty where they stay float."""
        return self.levels.get(ACTIVATIONS, {})

    @property
    def energies(self) -> Levels:
        """Energies per MAC by node; empty without noise."""
        return self.levels.get(ENERGIES, {})

    def same_levels(self, other: "Candidate") -> bool:
        """Equal levels and ranges everywhere; one level for a tensor stands for all of its channels."""
        own, others = (
            {kind: _merged(levels) for kind, levels in each.levels.items()} for each in (self, other)
        )
        return own == others and dict(self.range_factors) == dict(other.range_factors)


@dataclass(frozen=True, kw_only=True)
class Problem(ABC):
    """What every method gets: the model's mirror, the budgets and the data."""

    mirror: Mirror
    """Of the model before its precision is lowered, on the device that computes."""
    training: TrainingSettings
    data: TrainingData
    log: logging.Logger
    checkpoint: str | None = None
    """File that training saves its state to, and goes on from when it exists."""
    cost_examples: int = 512
    """What costs are measured on, where there are as many."""
    shared: SharedWork = field(default_factory=SharedWork, repr=False)
    """What problems that differ in their budgets alone have in common: grids and costs."""

    what: ClassVar[str]
    """What the levels are, for progress."""
    closed_form: ClassVar[str]
    """Name of the method that needs no training."""
    correction_shares: ClassVar[tuple[float, ...]]
    """Of what training says: the shares that method "refined" tries."""

    @property
    @abstractmethod
    def sides(self) -> Mapping[str, Side]:
        """By kind, those that have a budget."""

    @abstractmethod
    def cost_meters(self) -> tuple[Mirror, Sequence[CostMeter]]:
        """The mirror to run, and a fresh meter for each side."""

    @abstractmethod
    def learner(self, start: Precision) -> Learner:
        """A mirror that begins with the levels `start`."""

    def examples_at_once(self, most: int, kept_a_value: int) -> int:
        """Of a forward and backward pass: as many as fit into memory, at most `most`.

        Args:
            kept_a_value: tensors of its size that are kept of a value for the backward pass.
        """
        most = min(most, self.data.most_at_once)
        return examples_at_once(self.data.elements.total * kept_a_value, most, PASS_MEMORY)

    @property
    def allows_everything(self) -> bool:
        """The budgets give every item its highest level."""
        return all(side.allows_everything for side in self.sides.values())

    def uniform(self) -> Precision:
        """One level for all items of a kind that keeps the budgets."""
        return self.each_side(lambda kind, side: side.uniform())

    def uniform_of_choices(self, uniform: Precision) -> Precision | None:
        """The allowed equal levels nearest below; None where there are none that keep the budgets."""
        return self.each_side(lambda kind, side: side.allowed_below(uniform[kind]))

    def solve(self, costs: Costs) -> Precision:
        """Allowed levels of least summed cost that keep the budgets; one rank decides for all."""
        return self.data.ranks.first(lambda: self._solved(costs))

    def project(self, learned: Precision) -> Precision:
        """Allowed levels near to the learned ones that keep the budgets; one rank decides for all."""
        return self.data.ranks.first(lambda: self._projected(learned))

    def _solved(self, costs: Costs) -> Precision:
        return self.each_side(lambda kind, side: side.solve(costs[kind]))

    def _projected(self, learned: Precision) -> Precision:
        return self.each_side(lambda kind, side: side.project(learned[kind]))

    def each_side(self, levels: Callable[[str, Side], np.ndarray]) -> Precision:
        """Levels of every side, from its kind and itself."""
        return {kind: levels(kind, side) for kind, side in self.sides.items()}

    def candidate(
        self, name: str, precision: Precision, range_factors: Mapping[str, float] | None = None
    ) -> Candidate:
        """Levels by item as levels by name."""
        return Candidate(
            name,
            {kind: self.sides[kind].items.levels(each) for kind, each in precision.items()},
            range_factors or {},
        )


def _merged(levels: Levels) -> dict[str, object]:
    return {
        name: level[0] if isinstance(level, tuple) and len(set(level)) == 1 else level
        for name, level in levels.items()
    }
