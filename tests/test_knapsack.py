"""The budgeted choice, against brute force."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mpq_onnx.allocators.budget_measures import project_to_mean
from mpq_onnx.allocators.items import WidthItems
from mpq_onnx.allocators.knapsack import allocate_widths

CHOICES = np.array([2.0, 4.0, 5.0, 8.0])


def make_items(sizes: list[int]) -> WidthItems:
    return WidthItems(tuple(f"t{i}" for i in range(len(sizes))), (1,) * len(sizes), np.array(sizes), CHOICES)


problems = st.integers(1, 5).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 50), min_size=n, max_size=n),
        st.lists(st.lists(st.floats(0, 100), min_size=4, max_size=4), min_size=n, max_size=n),
        st.floats(2, 9),
    )
)


@given(problems)
def test_never_above_the_budget(problem: tuple[list[int], list[list[float]], float]) -> None:
    sizes, costs, budget = problem
    items = make_items(sizes)
    chosen = allocate_widths(items, np.array(costs), budget)
    assert set(chosen) <= set(CHOICES)
    assert items.mean(chosen) <= budget * (1 + 1e-9)


@given(problems)
def test_within_one_step_of_the_optimum(problem: tuple[list[int], list[list[float]], float]) -> None:
    sizes, rows, budget = problem
    items = make_items(sizes)
    costs = -np.sort(-np.array(rows), axis=1)  # more bits cost no more
    picks = range(len(CHOICES))
    best = min(
        sum(costs[item, pick] for item, pick in enumerate(combination))
        for combination in itertools.product(picks, repeat=len(sizes))
        if items.mean(CHOICES[list(combination)]) <= budget
    )
    found = allocate_widths(items, costs, budget)
    reached = sum(costs[item, int(np.searchsorted(CHOICES, width))] for item, width in enumerate(found))
    assert reached <= best + (costs[:, 0] - costs[:, -1]).max() + 1e-9


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_equal_items_get_equal_widths_when_the_budget_allows(sizes: list[int]) -> None:
    items = make_items([sizes[0]] * len(sizes))
    costs = np.tile(4.0**-CHOICES, (len(sizes), 1))
    assert set(allocate_widths(items, costs, 5.0)) == {5.0}


def test_projection_keeps_allowed_widths_and_prefers_the_nearest() -> None:
    items = make_items([10, 10, 10, 10])
    learned = np.array([2.0, 4.0, 5.0, 8.0])
    assert project_to_mean(items, learned, 4.75).tolist() == learned.tolist()
    assert project_to_mean(items, learned, 4.0).mean() <= 4.0
