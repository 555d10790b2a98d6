"""The budgeted choice: against every combination on tiny problems, against scipy's milp on larger ones."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from mpq_onnx.arithmetic.quantization import MAXIMUM_BITS, counted_bits, levels_of
from mpq_onnx.errors import ModelError, UsageError
from mpq_onnx.precision.items import WidthItems
from mpq_onnx.precision.knapsack import allocate_widths, select
from mpq_onnx.precision.measures import MEAN
from mpq_onnx.precision.width_budgets import WidthSide
from mpq_onnx.registries import ACTIVATION_BUDGETS

CHOICES = np.array([2.0, 4.0, 5.0, 8.0])
FRACTIONS = np.log2([1.0, 3.0, 5.0, 12.0])


def make_items(sizes: list[int] | np.ndarray, choices: np.ndarray = CHOICES) -> WidthItems:
    names = tuple(f"t{i}" for i in range(len(sizes)))
    return WidthItems(names, (1,) * len(sizes), np.array(sizes), choices)


def cost_of(items: WidthItems, costs: np.ndarray, widths: np.ndarray) -> float:
    return float(sum(costs[item, int(np.searchsorted(items.choices, w))] for item, w in enumerate(widths)))


def least_cost(items: WidthItems, costs: np.ndarray, budget: float) -> float:
    """By going through every combination."""
    capacity = budget * items.sizes.sum() * (1 + 1e-12)
    picks = np.array(list(itertools.product(range(len(items.choices)), repeat=len(items.sizes))))
    fits = items.choices[picks] @ items.sizes <= capacity
    return float(costs[np.arange(len(costs)), picks[fits]].sum(axis=1).min())


def milp_cost(items: WidthItems, costs: np.ndarray, budget: float) -> float:
    """By HiGHS, costs in units of the largest and the capacity as 1, since its tolerances are absolute."""
    count, width = costs.shape
    one_each = np.kron(np.eye(count), np.ones((1, width)))
    share = np.outer(items.sizes, items.choices).reshape(1, -1) / (budget * items.sizes.sum())
    unit = np.abs(costs).max()
    found = milp(
        costs.ravel() / unit, integrality=np.ones(costs.size), bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(share, -np.inf, 1)],
        options={"mip_rel_gap": 0.0},
    )  # fmt: skip
    assert found.success
    return float(found.fun) * unit


# Any order, ties, zeros, and 30 decades: costs that are neither monotone nor convex in the width.
cost_values = st.one_of(
    st.sampled_from([0.0, 1.0, 1.0]), st.floats(0, 100), st.integers(-20, 10).map(lambda e: 10.0**e)
)
problems = st.integers(1, 4).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 50), min_size=n, max_size=n),
        st.lists(st.lists(cost_values, min_size=4, max_size=4), min_size=n, max_size=n),
        st.floats(2, 9),
        st.sampled_from([CHOICES, FRACTIONS]),
    )
)


@settings(max_examples=200, deadline=None)
@given(problems)
def test_the_least_cost_under_the_budget(
    problem: tuple[list[int], list[list[float]], float, np.ndarray],
) -> None:
    sizes, rows, budget, choices = problem
    items, costs = make_items(sizes, choices), np.array(rows)
    found = allocate_widths(items, costs, budget)
    assert set(found) <= set(choices)
    assert items.mean(found) <= budget * (1 + 1e-11)
    assert cost_of(items, costs, found) <= least_cost(items, costs, budget) * (1 + 1e-9)
    assert np.array_equal(found, allocate_widths(items, costs, budget))


@settings(max_examples=100, deadline=None)
@given(problems)
def test_every_bit_that_costs_nothing_is_spent(
    problem: tuple[list[int], list[list[float]], float, np.ndarray],
) -> None:
    sizes, rows, budget, choices = problem
    items, costs = make_items(sizes, choices), np.array(rows)
    found = allocate_widths(items, costs, budget)
    room = budget * items.sizes.sum() - (found * items.sizes).sum()
    for item, width in enumerate(found):
        own = costs[item, int(np.searchsorted(choices, width))]
        for pick, more in enumerate(choices):
            takes = (more - width) * items.sizes[item]
            assert not (more > width and takes < room * (1 - 1e-9) and costs[item, pick] <= own)


def layers(seed: int, count: int = 24) -> tuple[WidthItems, np.ndarray]:
    """Sizes and costs as networks have them: costs fall about fourfold a bit, now and then not, over many decades."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice([432, 2304, 4608, 9216, 18432, 36864, 640], count)
    items = make_items(sizes, np.arange(2.0, 9.0))
    slopes = np.exp(rng.normal(0, 2, count))[:, None] * sizes[:, None]
    return items, slopes * 4.0**-items.choices * np.exp(rng.normal(0, 0.5, (count, 7)))


@pytest.mark.parametrize("seed", range(3))
def test_no_worse_than_milp(seed: int) -> None:
    items, costs = layers(seed)
    for budget in (2.1, 3.3, 6.7):
        found = allocate_widths(items, costs, budget)
        assert items.mean(found) <= budget * (1 + 1e-11)
        assert cost_of(items, costs, found) <= milp_cost(items, costs, budget) * (1 + 1e-9)


def test_more_budget_is_never_worse_and_units_do_not_matter() -> None:
    items, costs = layers(7)
    budgets = np.linspace(2, 8.2, 40)
    reached = [cost_of(items, costs, allocate_widths(items, costs, budget)) for budget in budgets]
    assert all(after <= before * (1 + 1e-12) for before, after in itertools.pairwise(reached))
    for unit in (2.0**-200, 2.0**60):
        scaled = allocate_widths(items, costs * unit, 3.3)
        assert np.array_equal(scaled, allocate_widths(items, costs, 3.3))


def test_a_cheap_tensor_beside_dear_ones_gets_its_best_too() -> None:
    """Thirty decades apart: what a solver with absolute tolerances leaves to chance."""
    items = make_items([100, 100, 100], np.arange(2.0, 9.0))
    costs = np.array([1e12, 1e-18, 1e-18])[:, None] * 4.0**-items.choices
    assert allocate_widths(items, costs, 4.0).tolist() == [8.0, 2.0, 2.0]
    assert sorted(allocate_widths(items, costs, 5.0).tolist()) == [3.0, 4.0, 8.0]


@pytest.mark.parametrize("seed", range(3))
def test_channels_are_solved_exactly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.repeat(rng.choice([9, 64, 144, 288, 576, 1152], 60), 50)
    amounts = sizes[:, None] * np.arange(7.0)
    costs = np.exp(rng.normal(0, 2, (len(sizes), 1))) * sizes[:, None] * 4.0 ** -np.arange(7.0)
    costs *= np.exp(rng.normal(0, 0.2, costs.shape))
    found = select(amounts, costs, 1.3 * float(sizes.sum()))
    rows = np.arange(len(sizes))
    assert found.gap == 0
    spent = amounts[rows, found.chosen].sum()
    assert spent <= 1.3 * sizes.sum()
    # The Lagrangian bound, from a price that the choices themselves give: nothing can be cheaper.
    prices = np.geomspace(1e-4, 1e1, 400)
    bound = max(
        float((costs + price * amounts).min(axis=1).sum() - price * 1.3 * sizes.sum()) for price in prices
    )
    assert bound <= costs[rows, found.chosen].sum() <= bound * 1.001


def test_what_cannot_be_proven_says_how_far_it_may_be() -> None:
    """A subset sum of sixty sizes that are no whole multiples of anything: every bit gains the same everywhere."""
    sizes = np.sqrt(np.arange(2.0, 62.0))
    amounts = sizes[:, None] * np.array([0.0, 1.0])
    found = select(amounts, -amounts, float(sizes.sum()) / 2)
    reached = amounts[np.arange(60), found.chosen].sum()
    assert reached <= sizes.sum() / 2 <= reached + found.gap + 1e-9
    assert 0 < found.gap < 1e-5 * reached


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_equal_items_get_equal_widths_when_the_budget_allows(sizes: list[int]) -> None:
    items = make_items([sizes[0]] * len(sizes))
    costs = np.tile(4.0**-CHOICES, (len(sizes), 1))
    assert set(allocate_widths(items, costs, 5.0)) == {5.0}
    assert set(allocate_widths(items, np.zeros_like(costs), 5.0)) == {5.0}


def test_projection_keeps_allowed_widths_and_prefers_the_nearest() -> None:
    items = make_items([10, 10, 10, 10])
    learned = np.array([2.0, 4.0, 5.0, 8.0])
    assert WidthSide(items, 4.75, ACTIVATION_BUDGETS[MEAN]).project(learned).tolist() == learned.tolist()
    assert WidthSide(items, 4.0, ACTIVATION_BUDGETS[MEAN]).project(learned).mean() == 4.0


@pytest.mark.parametrize("measure", ACTIVATION_BUDGETS)
def test_costs_that_are_no_numbers_are_refused(measure: str) -> None:
    items = make_items([10, 10])
    costs = np.array([[1.0, np.nan, 0.5, 0.1], [1.0, 0.5, 0.2, 0.1]])
    with pytest.raises(ModelError, match="finite"):
        WidthSide(items, 4.0, ACTIVATION_BUDGETS[measure]).solve(costs)


def test_a_budget_below_every_choice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"1\.9 bits cannot be reached"):
        allocate_widths(make_items([10]), np.ones((1, 4)), 1.9)


def test_counted_bits_and_levels_are_each_others_inverse() -> None:
    for levels in (*range(1, 300), *range(300, 2**MAXIMUM_BITS + 1, 997), 2**MAXIMUM_BITS):
        assert levels_of(np.log2(levels)) == levels
        assert counted_bits(np.log2(levels)) == counted_bits(counted_bits(np.log2(levels)))
    assert counted_bits(2.5) == np.log2(6)
