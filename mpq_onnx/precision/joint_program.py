"""Widths of least summed cost under several budgets at once, exactly: a mixed-integer program (HiGHS, through scipy).

A tensor takes one of its options, a binary variable each. Where two tensors meet at a multiply-accumulate, and what is counted
is no sum of a part for each (bit operations, a measured latency), every pair of their options is a variable of its own; pairs
sum to the options that they are made of, which makes them whole wherever the options are (a transport polytope). A tensor whose
channels have widths of their own has the best mixtures of them at a row of means as options.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from mpq_onnx.documents.resources.terms import Sum, Term
from mpq_onnx.precision.continuous_knapsack import best_mixture
from mpq_onnx.precision.items import WidthItems
from mpq_onnx.progress import warn

MEANS_PER_BIT = 8
"""Options of a tensor whose channels have widths of their own, between one whole mean width and the next."""
SECONDS = 60.0
"""After which the best known is taken."""
RELATIVE_GAP = 1e-6
PAIR = 2
HAIR = 1e-9
FAR_ABOVE, LOW = 1e5, 0.05
"""Times a low quantile of the amounts."""
SMALLEST_SCALE = 1e-300
PROVEN = 0
"""Status of a program whose best solution was found."""


@dataclass(frozen=True)
class Options:
    """What one tensor may get."""

    levels: np.ndarray
    """float64 [options, items]: widths of its items."""
    costs: np.ndarray
    """float64 [options]."""

    @property
    def bits(self) -> np.ndarray:
        """float64 [options]: mean widths; a tensor's items are of one size."""
        return self.levels.mean(axis=1)


@dataclass(frozen=True)
class Bound:
    """The sum of terms is at most so much."""

    terms: Sum
    most: float


@dataclass(frozen=True)
class PairRule:
    """Widths of two tensors that go together."""

    tensors: tuple[str, str]
    allows: Callable[[float, float], bool]

    def allows_all(self, one: np.ndarray, other: np.ndarray) -> bool:
        """Do all widths of the one, which may have several by channel, go with all of the other?"""
        return all(
            self.allows(float(own), float(others)) for own in np.unique(one) for others in np.unique(other)
        )


def tensor_options(items: WidthItems, costs: np.ndarray) -> dict[str, Options]:
    """By tensor; costs: float64 [items, choices]."""
    rows = np.arange(len(items.sizes))[:, None]
    own = np.asarray(costs, np.float64)[rows, items.effective]
    found, start = {}, 0
    for name, count in zip(items.names, items.counts, strict=True):
        part = slice(start, start + count)
        found[name] = _options(items.bits[part], own[part])
        start += count
    return found


def _options(bits: np.ndarray, costs: np.ndarray) -> Options:
    """Of a tensor with widths [items, choices] to choose from."""
    if len(bits) == 1:
        levels, first = np.unique(bits[0], return_index=True)
        return Options(levels[:, None], costs[0, first])
    amounts = bits - bits[:, :1]
    low, high = float(bits[:, 0].mean()), float(bits[:, -1].mean())
    rows = np.arange(len(bits))
    mixtures: dict[bytes, tuple[np.ndarray, float]] = {}
    for mean in np.linspace(low, high, round((high - low) * MEANS_PER_BIT) + 1):
        chosen = best_mixture(amounts, costs, (mean - low) * len(bits)).chosen
        mixtures[chosen.tobytes()] = bits[rows, chosen], float(costs[rows, chosen].sum())
    for place in range(bits.shape[1]):  # equal widths too: what goes together is said of whole ones
        chosen = np.full(len(bits), place)
        mixtures.setdefault(chosen.tobytes(), (bits[:, place], float(costs[:, place].sum())))
    return Options(
        np.array([levels for levels, _ in mixtures.values()]),
        np.array([cost for _, cost in mixtures.values()]),
    )


@dataclass
class _Rows:
    """Linear constraints under construction."""

    columns: int = 0
    entries: list[tuple[int, np.ndarray, np.ndarray]] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(self, columns: np.ndarray, values: np.ndarray, low: float, high: float) -> None:
        """low <= sum(values * variables[columns]) <= high."""
        self.entries.append((len(self.low), columns, values))
        self.low.append(low)
        self.high.append(high)

    def constraint(self) -> LinearConstraint:
        """All of them."""
        rows = np.concatenate([np.full(len(columns), row) for row, columns, _ in self.entries])
        columns = np.concatenate([columns for _, columns, _ in self.entries])
        values = np.concatenate([values for _, _, values in self.entries])
        matrix = sparse.csr_array((values, (rows, columns)), shape=(len(self.low), self.columns))
        return LinearConstraint(matrix, self.low, self.high)


class JointProgram:
    """The program of one set of tensors, rules for pairs, and bounds."""

    def __init__(
        self, options: Mapping[str, Options], pairs: Sequence[PairRule], terms: Collection[Term]
    ) -> None:
        """Args: terms: all that a bound or an objective adds up, of tensors among the options alone (see limits.settled)."""
        self.options, self.rows = options, _Rows()
        self.place = {name: self._new(len(each.costs)) for name, each in options.items()}
        self.binaries = self.rows.columns
        self.pair_place: dict[tuple[str, str], np.ndarray] = {}
        self.closed: set[int] = set()
        for columns in self.place.values():
            self.rows.add(columns, np.ones(len(columns)), 1, 1)
        for tensors in dict.fromkeys([*(rule.tensors for rule in pairs), *map(_meeting, terms)]):
            if len(tensors) == PAIR:
                self._add_pair((tensors[0], tensors[1]))
        for rule in pairs:
            self._close(rule)

    def least(self, bounds: Sequence[Bound], costs: np.ndarray | None = None) -> dict[str, int] | None:
        """The option of every tensor that costs least within the bounds; None where there is none.

        Args:
            costs: float64 [variables]; those of the options where omitted.
        """
        return self._solve(bounds, self._own_costs() if costs is None else costs)

    def smallest(self, sums: Sequence[Sum], bounds: Sequence[Bound]) -> dict[str, int] | None:
        """The options whose largest sum is least, within the bounds.

        Amounts that stand far above all others, as for what a device cannot do, would take the solver's precision: it is asked
        without them first, which is right where what it finds is below each of them.
        """
        found = [self.row(terms) for terms in sums]
        everything = np.concatenate([values for _, values in found])
        usual = everything[everything > 0]
        ceiling = FAR_ABOVE * float(np.quantile(usual, LOW)) if len(usual) else np.inf
        for most in dict.fromkeys((ceiling, np.inf)):
            closed = {int(column) for columns, values in found for column in columns[values > most]}
            chosen = self._smallest(
                [(columns, np.minimum(values, most)) for columns, values in found], bounds, closed
            )
            if chosen is not None:
                return chosen
        return None

    def _smallest(
        self, sums: Sequence[tuple[np.ndarray, np.ndarray]], bounds: Sequence[Bound], closed: set[int]
    ) -> dict[str, int] | None:
        top = self.rows.columns
        rows = _Rows(top + 1, [*self.rows.entries], [*self.rows.low], [*self.rows.high])
        scale = max(max(float(np.abs(values).max(initial=0.0)) for _, values in sums), SMALLEST_SCALE)
        for columns, values in sums:
            rows.add(np.append(columns, top), np.append(values / scale, -1.0), -np.inf, 0.0)
        costs = np.zeros(top + 1)
        costs[top] = 1.0
        return self._solve(bounds, costs, rows, closed)

    def row(self, terms: Sum) -> tuple[np.ndarray, np.ndarray]:
        """(columns, values) of a sum."""
        columns, values = [np.zeros(0, np.int64)], [np.zeros(0)]
        for term in terms:
            place, amounts = self._amounts(term)
            columns.append(place)
            values.append(amounts)
        return np.concatenate(columns), np.concatenate(values)

    def _amounts(self, term: Term) -> tuple[np.ndarray, np.ndarray]:
        tensors = _meeting(term)
        if not tensors:  # the same whatever is chosen: on some tensor's options, one of which is taken
            columns = next(iter(self.place.values()))
            return columns, np.full(len(columns), term.amount())
        bits = [self.options[name].bits for name in tensors]
        if len(tensors) == 1:
            repeat = len(term.tensors)
            return self.place[tensors[0]], np.array([term.amount(*[width] * repeat) for width in bits[0]])
        columns = self.pair_place[tensors[0], tensors[1]]
        pairs = [(one, other) for one in bits[0] for other in bits[1]]
        amounts = [  # what never meets need not be known
            0.0 if column in self.closed else term.amount(*pair)
            for column, pair in zip(columns.tolist(), pairs, strict=True)
        ]
        return columns, np.array(amounts)

    def _new(self, count: int) -> np.ndarray:
        columns = np.arange(self.rows.columns, self.rows.columns + count)
        self.rows.columns += count
        return columns

    def _add_pair(self, tensors: tuple[str, str]) -> None:
        """A variable for every pair of options; they sum to the options."""
        one, other = (self.place[name] for name in tensors)
        columns = self._new(len(one) * len(other))
        self.pair_place[tensors] = columns
        table = columns.reshape(len(one), len(other))
        for own, summed in [*zip(one, table, strict=True), *zip(other, table.T, strict=True)]:
            self.rows.add(np.append(summed, own), np.append(np.ones(len(summed)), -1.0), 0, 0)

    def _close(self, rule: PairRule) -> None:
        """Pairs that do not go together are never taken."""
        one, other = (self.options[name].levels for name in rule.tensors)
        columns = self.pair_place[rule.tensors].reshape(len(one), len(other))
        self.closed |= {
            int(columns[row, column])
            for row, own in enumerate(one)
            for column, others in enumerate(other)
            if not rule.allows_all(own, others)
        }

    def _own_costs(self) -> np.ndarray:
        costs = np.zeros(self.rows.columns)
        for name, columns in self.place.items():
            costs[columns] = self.options[name].costs
        return costs

    def _solve(
        self,
        bounds: Sequence[Bound],
        costs: np.ndarray,
        start: _Rows | None = None,
        closed: Collection[int] = (),
    ) -> dict[str, int] | None:
        start = self.rows if start is None else start
        rows = _Rows(start.columns, [*start.entries], [*start.low], [*start.high])
        shut = {*self.closed, *closed}
        for bound in bounds:
            columns, values = self.row(bound.terms)
            alone = values > bound.most * (1 + HAIR)  # more than all may take: no solution has it
            shut.update(columns[alone].tolist())
            scale = bound.most or 1.0
            rows.add(columns, np.where(alone, 0.0, values) / scale, -np.inf, bound.most / scale)
        whole = np.zeros(rows.columns)
        whole[: self.binaries] = 1
        most = np.ones(rows.columns)
        most[self.rows.columns :] = np.inf
        most[sorted(shut)] = 0
        with _silent():
            found = milp(
                costs,
                integrality=whole,
                bounds=Bounds(np.zeros(rows.columns), most),
                constraints=rows.constraint(),
                options={"time_limit": SECONDS, "mip_rel_gap": RELATIVE_GAP},
            )
        if found.x is None:
            return None
        if found.status != PROVEN:
            warn(
                f"widths under several limits: stopped after {SECONDS:g} s; what was found costs at most"
                f" {100 * found.mip_gap:.3g} % more than the best"
            )
        return {name: int(found.x[columns].argmax()) for name, columns in self.place.items()}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """HiGHS prints what it thinks of numbers to the process's output, past Python and past its own options."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123 (a descriptor is wanted)
            os.dup2(nothing.fileno(), 1)
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _meeting(term: Term) -> tuple[str, ...]:
    """The term's tensors, each once."""
    return tuple(dict.fromkeys(str(name) for name in term.tensors))
