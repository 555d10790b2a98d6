"""Independent items by threads: in order, as many at once as is wanted, with the same numbers."""

import threading

import numpy as np
import pytest

from mpq_onnx.arithmetic.observers.range_search import CACHED, best_range
from mpq_onnx.threads import VARIABLE, side_by_side


def test_results_come_in_the_order_of_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "3")
    assert side_by_side(lambda item: item**2, range(50)) == [item**2 for item in range(50)]
    assert side_by_side(str, []) == []


@pytest.mark.parametrize("threads", [2, 3])
def test_as_many_work_at_once_as_the_environment_wants(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setenv(VARIABLE, str(threads))
    together = threading.Barrier(threads, timeout=10)  # broken where fewer come
    side_by_side(lambda item: together.wait(), range(threads))


def test_one_thread_works_in_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    assert set(side_by_side(lambda item: threading.get_ident(), range(9))) == {threading.get_ident()}


def test_the_first_fault_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "4")
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda item: 1 // item, [1, 0, 2])


def test_ranges_are_the_same_by_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((3 * CACHED // 400, 400)).astype(np.float32)
    levels = rng.integers(2, 17, len(rows)).astype(np.float32)
    found = []
    for threads in ("1", "4"):
        monkeypatch.setenv(VARIABLE, threads)
        found.append(best_range(rows, levels))
    np.testing.assert_array_equal(*found)
