"""Observers, fed in batches, against the whole of the data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_onnx.arithmetic.observers.range_search import best_range, squared_error
from mpq_onnx.arithmetic.observers.sorted_rows import SortedRows
from mpq_onnx.arithmetic.observers.streaming_histogram import StreamingHistogram
from mpq_onnx.arithmetic.quantization import ASYMMETRIC, SCHEMES, WEIGHT_SCHEMES
from mpq_onnx.registries import OBSERVERS


def batches(seed: int = 0, count: int = 20) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((16, 500)) * (1 + index / 5)).astype(np.float32) for index in range(count)]


def observe(name: str, data: list[np.ndarray]):
    observer = OBSERVERS[name]()
    for batch in data:
        observer.update(batch)
    return observer


def test_min_max_is_exact() -> None:
    data = batches()
    low, high = observe("minmax", data).range(16, SCHEMES[ASYMMETRIC])
    assert (low, high) == (min(batch.min() for batch in data), max(batch.max() for batch in data))


def test_ema_follows_the_recursion() -> None:
    data = batches()
    low, high = float(data[0].min()), float(data[0].max())
    for batch in data[1:]:
        low, high = 0.99 * low + 0.01 * float(batch.min()), 0.99 * high + 0.01 * float(batch.max())
    assert observe("ema", data).range(16, SCHEMES[ASYMMETRIC]) == pytest.approx((low, high), rel=1e-5)


def test_percentile_matches_numpy_within_a_bin() -> None:
    data = batches()
    whole = np.concatenate([batch.ravel() for batch in data])
    low, high = observe("percentile", data).range(16, SCHEMES[ASYMMETRIC])
    spread = float(whole.max() - whole.min())
    assert low == pytest.approx(np.percentile(whole, 0.01), abs=spread / 100)
    assert high == pytest.approx(np.percentile(whole, 99.99), abs=spread / 100)


@pytest.mark.parametrize("levels", [4, 16, 256])
def test_mse_is_no_worse_than_min_max(levels: int) -> None:
    data = batches()
    whole = np.concatenate([batch.ravel() for batch in data])[None]

    def error(name: str) -> float:
        low, high = observe(name, data).range(levels, SCHEMES[ASYMMETRIC])
        return squared_error(whole, np.float32([low]), np.float32([high]), np.float32([levels]))[0]

    assert error("mse") <= error("minmax") * 1.01
    if levels == 4:
        assert error("mse") < 0.5 * error("minmax")


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40), st.sampled_from([2, 4, 8, 16, 256]))
def test_best_range_is_no_worse_than_the_whole_range(values: list[float], levels: int) -> None:
    row, count = np.array([values], np.float32), np.float32([levels])
    low, high = best_range(row, count)
    whole = squared_error(row, row.min(axis=1).clip(max=0), row.max(axis=1).clip(min=0), count)
    assert squared_error(row, low, high, count)[0] <= whole[0] * (1 + 1e-9)


@pytest.mark.parametrize("name", OBSERVERS)
def test_memory_does_not_grow_with_the_number_of_batches(name: str) -> None:
    def held(observer: object) -> int:
        total = 0
        for value in vars(observer).values():
            if isinstance(value, np.ndarray):
                total += value.nbytes
            elif hasattr(value, "__dict__"):
                total += held(value)
            else:
                assert not isinstance(value, list | dict)
        return total

    assert held(observe(name, batches(count=3))) == held(observe(name, batches(count=60)))


def test_histogram_counts_everything_and_keeps_the_range() -> None:
    histogram = StreamingHistogram()
    data = batches()
    for batch in data:
        histogram.update(batch)
    centres, counts = histogram.occupied()
    assert counts.sum() == sum(batch.size for batch in data)
    whole = np.concatenate([batch.ravel() for batch in data])
    assert centres.min() >= whole.min() - 0.1
    assert centres.max() <= whole.max() + 0.1
    assert (centres * counts).sum() / counts.sum() == pytest.approx(whole.mean(), abs=0.01)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6), rows=st.integers(1, 4), bits=st.integers(0, 6), scheme=st.sampled_from(list(WEIGHT_SCHEMES)),
    weighted=st.booleans(), ranges=st.integers(1, 3),
)  # fmt: skip
def test_errors_by_levels_are_those_by_numbers(
    seed: int, rows: int, bits: int, scheme: str, weighted: bool, ranges: int
) -> None:
    """Rows of any size beside each other, some of them zero or on the levels, at any width."""
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal((rows, 90)) ** 3 * 10.0 ** rng.integers(-20, 20, (rows, 1))).astype(
        np.float32
    )
    values[0] *= rng.integers(0, 2)
    counts = rng.integers(0, 50, values.shape).astype(np.float64) if weighted else None
    levels = np.maximum(2**bits - rng.integers(0, 2, rows), 1).astype(np.float32)
    share = rng.uniform(0.1, 1.3, (2, ranges, 1))
    low, high = (
        (share * ends).astype(np.float32)
        for share, ends in zip(share, (values.min(1).clip(max=0), values.max(1).clip(min=0)), strict=True)
    )
    rule = WEIGHT_SCHEMES[scheme]
    wanted = squared_error(values.astype(np.float64), low, high, levels, counts, rule)
    fitted = (np.broadcast_to(each, low.shape).ravel() for each in rule.fit(low, high, levels))
    found = SortedRows(values, counts).squared_error(np.tile(np.arange(rows), ranges), *fitted)
    # Numbers on a threshold may fall to either side, where the error is the same but for their rounding.
    total = (values.astype(np.float64) ** 2 * (1 if counts is None else counts)).sum(axis=1)
    np.testing.assert_allclose(
        found.reshape(wanted.shape),
        wanted,
        rtol=1e-5,
        atol=float(1e-12 * total.max(initial=0)) if rows == 1 else 1e-300,
    )


@pytest.mark.parametrize("bits", [2, 4])
def test_a_row_on_the_levels_has_no_error(bits: int) -> None:
    levels = np.float32([2**bits])
    row = (np.random.default_rng(0).integers(0, 2**bits, (1, 4000)) - 2 ** (bits - 1)).astype(
        np.float32
    ) * np.float32(0.3)
    low, high = best_range(row, levels)
    assert squared_error(row, low, high, levels)[0] < 1e-9
