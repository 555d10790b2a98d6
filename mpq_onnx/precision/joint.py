"""Widths of weights and activations under limits that concern both, beside the mean of each."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from mpq_onnx.documents.resources.terms import Term, Widths
from mpq_onnx.errors import AllocationError, UsageError
from mpq_onnx.precision.joint_program import Bound, JointProgram, Options, PairRule, tensor_options
from mpq_onnx.precision.knapsack import check_costs
from mpq_onnx.precision.limits import TOLERANCE, Limit, not_below, settled
from mpq_onnx.precision.problem import Costs, Levels, Precision

if TYPE_CHECKING:
    from mpq_onnx.precision.width_budgets import WidthSide

SMALLEST_COST = 1e-300
LEAST_TOGETHER = 2
FINE, MOST_ROUNDS = 0.1, 12
HAIR = 1e-6
"""Relative: what the solver may be above a bound."""


@dataclass(frozen=True)
class JointBudgets:
    """The sides, and what bounds them together."""

    sides: Mapping[str, "WidthSide"]
    limits: tuple[Limit, ...]
    fixed: Widths
    """By tensor, where no side chooses."""
    rules: tuple[PairRule, ...] = ()
    """Widths that go together."""

    def solve(self, costs: Costs) -> Precision:
        """Allowed widths of least summed cost, wide where that costs no more; costs: float64 [items, choices] by kind.

        Raises:
            UsageError: no widths keep all limits.
        """
        for each in costs.values():
            check_costs(each)
        options = self._options(costs)
        return self._widened(self._cheapest(options, costs), options)

    def _widened(self, found: Precision, options: Mapping[str, Options]) -> Precision:
        """One tensor after the other at the widest option that costs no more than its own and keeps all budgets."""
        for kind, side in self.sides.items():
            for name in side.items.names:
                each = options[name]
                levels = side.items.split(found[kind])[name]
                own = [place for place, other in enumerate(each.levels) if np.array_equal(other, levels)]
                if not own:
                    continue
                wider = np.flatnonzero((each.costs <= each.costs[own[0]]) & (each.bits > each.bits[own[0]]))
                for place in sorted(wider, key=lambda place: -each.bits[place]):
                    widths = {**side.items.split(found[kind]), name: each.levels[place]}
                    tried = {**found, kind: side.items.join(widths)}
                    if self._keeps(tried):
                        found = tried
                        break
        return found

    def _cheapest(self, options: Mapping[str, Options], costs: Costs) -> Precision:
        least = {name: float(each.costs.min()) for name, each in options.items()}
        known = self._best(self._equal_choices(), costs)
        # The solver's precision is that of its units: costs far below them are solved for once more, in units of their own.
        for _ in range(MOST_ROUNDS):
            ceiling = None if known is None else self._cost(known, costs) - math.fsum(least.values())
            if known is not None and (ceiling or 0.0) <= 0:  # nothing costs less
                return known
            found = self._least(_promising(options, least, ceiling))
            above = self._cost(found, costs) - math.fsum(least.values())
            if ceiling is not None and above >= FINE * ceiling:
                return found
            known = found
        return found

    def _least(self, options: Mapping[str, Options]) -> Precision:
        """Of least cost among the options."""
        for margin in (0.0, HAIR):
            chosen = self._program(options).least(self._bounds(1 - margin))
            if chosen is None:
                raise self._refusal()
            found = self._precision(options, chosen)
            if self._keeps(found):
                return found
        raise self._refusal()

    def uniform(self, costs: Costs) -> Precision:
        """One width for all weights and one for all activations: of all pairs that keep the limits, the least in cost.

        Where no pair keeps them, the widths that a network without a weak spot would get: those whose errors, falling by 4 a
        bit everywhere alike, are least.
        """
        found = self._best([*self._equal_choices(), *self._equal_levels()], costs)
        if found is not None:
            return found
        blind = {kind: side.costs_near(np.zeros(len(side.items.sizes))) for kind, side in self.sides.items()}
        return self.solve(blind)

    def equal_choice(self, costs: Costs) -> Precision | None:
        """The same among the choices; None where no pair keeps the limits."""
        return self._best(self._equal_choices(), costs)

    @cached_property
    def has_equal_widths(self) -> bool:
        """Some pair of equal widths keeps the limits."""
        return self._best([*self._equal_choices(), *self._equal_levels()], self._no_costs()) is not None

    def limits_bind(self, levels: Mapping[str, Levels]) -> bool:
        """Some limit would be exceeded if everything had its next wider choice.

        Args:
            levels: of a candidate, by kind.
        """
        wider = dict(self.fixed)
        for kind, side in self.sides.items():
            for name, bits in levels[kind].items():
                mean, choices = float(np.mean(bits)), side.items.choices[side.items.choices_of(name)]
                wider[name] = float(min(choices[choices > mean * (1 + TOLERANCE)], default=mean))
        try:
            return not all(limit.holds(wider) for limit in self.limits)
        except AllocationError:  # a cost table without a row for them
            return True

    def check(self) -> None:
        """Raise UsageError for limits that no widths keep; says what can be reached."""
        options = self._options(self._no_costs())
        if self._program(options).least(self._bounds(1 + TOLERANCE)) is None:
            raise self._refusal()

    def range_of(self, resource: str) -> tuple[float, float]:
        """The least of a resource that the other budgets allow, and what the widest choices take, or the narrowest.

        Raises:
            UsageError: the other budgets cannot be kept.
        """
        limit = next(each for each in self._settled if each.resource == resource)
        options = self._options(self._no_costs())
        chosen = self._program(options).smallest(limit.sums, self._bounds(1 + TOLERANCE, without=resource))
        if chosen is None:
            raise self._refusal()
        least = limit.spent(self.widths(self._precision(options, chosen)))
        widest = {kind: side.items.bits[:, -1] for kind, side in self.sides.items()}
        narrowest = {kind: side.items.bits[:, 0] for kind, side in self.sides.items()}
        # A device may well take less for more: then the narrowest take most.
        return least, max(limit.spent(self.widths(each)) for each in (widest, narrowest))

    def widths(self, precision: Precision) -> Widths:
        """By tensor, the mean over channels."""
        own = {
            name: float(part.mean())
            for kind, side in self.sides.items()
            for name, part in side.items.split(precision[kind]).items()
        }
        return {**self.fixed, **own}

    def _keeps(self, precision: Precision) -> bool:
        if not self._go_together(precision):  # what never meets need not be known of a cost table
            return False
        widths = self.widths(precision)
        within = all(
            side.measure.spent(side.items.sizes, precision[kind]) <= side.budget * (1 + TOLERANCE)
            for kind, side in self.sides.items()
        )
        return within and all(limit.holds(widths) for limit in self.limits)

    def _go_together(self, precision: Precision) -> bool:
        levels = {
            name: part
            for kind, side in (self.sides.items() if self.rules else ())
            for name, part in side.items.split(precision[kind]).items()
        }
        return all(rule.allows_all(*(levels[name] for name in rule.tensors)) for rule in self.rules)

    @cached_property
    def _free(self) -> frozenset[str]:
        return frozenset(name for side in self.sides.values() for name in side.items.names)

    @cached_property
    def _settled(self) -> tuple[Limit, ...]:
        """The limits as sums over what is chosen."""
        return tuple(
            replace(
                limit,
                sums=tuple(
                    tuple(settled(term, self.fixed, self._free) for term in terms) for terms in limit.sums
                ),
            )
            for limit in self.limits
        )

    @cached_property
    def _means(self) -> tuple[Bound, ...]:
        """The budgets of the sides."""
        return tuple(bound for side in self.sides.values() for bound in _side_bounds(side))

    def _bounds(self, share: float, without: str | None = None) -> list[Bound]:
        """All of them, each times `share`; `without` names a resource to leave out."""
        limits = [
            Bound(terms, limit.most)
            for limit in self._settled
            if limit.resource != without
            for terms in limit.sums
        ]
        return [replace(each, most=each.most * share) for each in (*self._means, *limits)]

    def _program(self, options: Mapping[str, Options]) -> JointProgram:
        terms = [term for limit in self._settled for each in limit.sums for term in each]
        return JointProgram(options, self.rules, terms)

    def _no_costs(self) -> Costs:
        return {
            kind: np.zeros((len(side.items.sizes), len(side.items.choices)))
            for kind, side in self.sides.items()
        }

    def _options(self, costs: Costs) -> dict[str, Options]:
        return {
            name: each
            for kind, side in self.sides.items()
            for name, each in tensor_options(side.items, costs[kind]).items()
        }

    def _precision(self, options: Mapping[str, Options], chosen: Mapping[str, int]) -> Precision:
        levels = {name: options[name].levels[place] for name, place in chosen.items()}
        return {kind: side.items.join(levels) for kind, side in self.sides.items()}

    def _best(self, precisions: Iterable[Precision], costs: Costs) -> Precision | None:
        """Of those that keep all budgets, the least in cost; among equal costs the widest."""
        kept = [each for each in precisions if self._keeps(each)]
        return min(kept, key=lambda each: (self._cost(each, costs), -self._bits(each)), default=None)

    def _bits(self, precision: Precision) -> float:
        """The sum of the sides' means."""
        return sum(side.items.mean(precision[kind]) for kind, side in self.sides.items())

    def _equal_choices(self) -> Iterator[Precision]:
        """Every pair of equal widths among the choices."""
        for widths in _each(self._choices):
            yield {kind: self.sides[kind].equal(width) for kind, width in widths.items()}

    def _equal_levels(self) -> Iterator[Precision]:
        """For every choice of one side, the most levels that it leaves the other."""
        for kind in self.sides:
            for widths in _each({other: each for other, each in self._choices.items() if other != kind}):
                rest = {other: self.sides[other].equal(width) for other, width in widths.items()}
                most = self._most_levels(kind, rest)
                if most is not None:
                    yield {**rest, kind: self.sides[kind].equal(math.log2(most))}

    @cached_property
    def _choices(self) -> dict[str, list[float]]:
        return {kind: [*map(float, side.common_choices)] for kind, side in self.sides.items()}

    def _most_levels(self, kind: str, rest: Precision) -> int | None:
        """The most levels for all items of a kind beside the others' widths; None where even the fewest are too many."""
        low, high = (round(2.0 ** self._choices[kind][place]) for place in (0, -1))
        keeps = partial(self._keeps_levels, kind, rest)
        if not keeps(low):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if keeps(middle) else (low, middle)
        return high if keeps(high) else low

    def _keeps_levels(self, kind: str, rest: Precision, levels: int) -> bool:
        return self._keeps({**rest, kind: self.sides[kind].equal(math.log2(levels))})

    def _cost(self, precision: Precision, costs: Costs) -> float:
        """Summed; between two choices costs fall geometrically."""
        total = 0.0
        for kind, side in self.sides.items():
            items, widths = side.items, precision[kind]
            logs = np.log(np.maximum(np.take_along_axis(costs[kind], items.effective, axis=1), SMALLEST_COST))
            rows, last = np.arange(len(widths)), logs.shape[1] - 1
            high = (items.bits < widths[:, None] * (1 - TOLERANCE)).sum(axis=1).clip(0, last)
            low = (high - 1).clip(0)
            step = items.bits[rows, high] - items.bits[rows, low]
            share = np.divide(widths - items.bits[rows, low], step, out=np.zeros(len(rows)), where=step > 0)
            total += float(
                np.exp(logs[rows, low] + share.clip(0, 1) * (logs[rows, high] - logs[rows, low])).sum()
            )
        return total

    def _asked(self) -> str:
        limits = [f"--max {limit.resource}={limit.most:.6g}" for limit in self.limits]
        return ", ".join([*limits, *(["the pairs of widths that the target takes"] if self.rules else [])])

    def _refusal(self) -> UsageError:
        """What of the limits cannot be kept, and how much could."""
        options = self._options(self._no_costs())
        program = self._program(options)
        for limit in self._settled:
            chosen = program.smallest(limit.sums, self._means)
            least = None if chosen is None else limit.spent(self.widths(self._precision(options, chosen)))
            if least is None or least > limit.most * (1 + TOLERANCE):
                said = "no widths" if least is None else f"the smallest is {not_below(least)}"
                return UsageError(
                    f"--max {limit.resource}={limit.most:.6g}: cannot be reached with these choices; {said}"
                )
        if len(self._settled) < LEAST_TOGETHER:
            return UsageError(
                f"{self._asked()}: no widths keep it beside what else is given; raise it, or give other choices"
            )
        last = self._settled[-1]
        chosen = program.smallest(last.sums, self._bounds(1 + TOLERANCE, without=last.resource))
        others = ", ".join(f"{limit.resource}={limit.most:.6g}" for limit in self._settled[:-1])
        least_text = (
            ""
            if chosen is None
            else f"; the smallest {last.resource} beside the others is"
            f" {not_below(last.spent(self.widths(self._precision(options, chosen))))}"
        )
        return UsageError(
            f"--max {last.resource}={last.most:.6g} and {others}: cannot be kept together{least_text}"
        )


def _side_bounds(side: "WidthSide") -> Iterator[Bound]:
    """The budget of a side as sums over its tensors."""
    items = side.items
    counts, names = np.array(items.counts), items.names
    starts = np.cumsum(counts) - counts
    for shares in side.measure.shares(items.sizes):
        terms = tuple(
            Term(name, (name,), partial(_share, float(shares[start : start + count].sum())))
            for name, start, count in zip(names, starts, counts, strict=True)
            if shares[start : start + count].any()
        )
        yield Bound(terms, side.budget)


def _share(share: float, bits: float) -> float:
    return share * bits


def _promising(
    options: Mapping[str, Options], least: Mapping[str, float], ceiling: float | None
) -> dict[str, Options]:
    """Options that alone do not cost more than a known solution does in all, their costs in its units, from 0 on."""
    highest = max(float(each.costs.max()) - least[name] for name, each in options.items())
    scale = ceiling if ceiling is not None and ceiling > 0 else highest or 1.0
    found = {}
    for name, each in options.items():
        above = each.costs - least[name]
        kept = above <= (scale * (1 + HAIR) if ceiling is not None else np.inf)
        found[name] = Options(each.levels[kept], above[kept] / scale)
    return found


def _each(choices: Mapping[str, Sequence[float]]) -> Iterator[dict[str, float]]:
    """Every combination."""
    if not choices:
        yield {}
        return
    (name, widths), *others = choices.items()
    for rest in _each(dict(others)):
        yield from ({name: width, **rest} for width in widths)
