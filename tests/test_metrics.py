"""Metrics in batches against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpq_onnx.runtime.metrics import (
    ClassificationCounts,
    Difference,
    PairedCounts,
    Proportion,
    SignalToNoise,
)


def test_top_k_over_batches() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((100, 10)), rng.integers(0, 10, 100)
    counts = ClassificationCounts()
    for start in range(0, 100, 32):
        counts.update(logits[start : start + 32], labels[start : start + 32])
    order = np.argsort(-logits, axis=1)
    assert counts.metrics()["top1"].value == (order[:, 0] == labels).mean()
    assert counts.metrics()["top5"].value == (order[:, :5] == labels[:, None]).any(axis=1).mean()


def test_few_classes_have_no_top5() -> None:
    counts = ClassificationCounts()
    counts.update(np.eye(3), np.array([0, 1, 1]))
    assert set(counts.metrics()) == {"top1"}


@given(st.integers(1, 500), st.data())
def test_interval_holds_the_value_and_stays_in_bounds(examples: int, data) -> None:
    share = Proportion.of(data.draw(st.integers(0, examples)), examples)
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = rng.binomial(400, 0.9, 2000)
    covered = [(share := Proportion.of(int(hits), 400)).low <= 0.9 <= share.high for hits in draws]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_paired_difference_is_tighter_than_two_intervals() -> None:
    paired = Difference.of(gained=10, lost=20, examples=2000)
    assert paired.value == pytest.approx(-0.005)
    alone = Proportion.of(1800, 2000)
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_agreement_and_difference() -> None:
    pairs = PairedCounts()
    ours, theirs = np.eye(4)[[0, 1, 2, 3]], np.eye(4)[[0, 1, 1, 2]]
    pairs.update(ours, theirs, np.array([0, 1, 2, 2]))
    assert pairs.agreement.value == 0.5
    assert pairs.difference is not None and pairs.difference.value == 0.0


def test_signal_to_noise() -> None:
    noise = SignalToNoise()
    exact = np.random.default_rng(0).standard_normal(1000)
    noise.update(exact, exact * 1.1)
    assert noise.decibels == pytest.approx(20.0)
    same = SignalToNoise()
    same.update(exact, exact)
    assert same.decibels == math.inf
