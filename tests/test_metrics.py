"""Metrics in batches against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from mpq_onnx.runtime.scores.binary import BinaryScores
from mpq_onnx.runtime.scores.classes import ClassScores
from mpq_onnx.runtime.scores.vectors import VectorScores
from mpq_onnx.runtime.statistics import (
    Difference,
    Estimate,
    PairedCounts,
    SignalToNoise,
)


def test_top_k_over_batches() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((100, 10)), rng.integers(0, 10, 100)
    scores = ClassScores("image-classification")
    for start in range(0, 100, 32):
        scores.update(logits[start : start + 32], labels[start : start + 32])
    order = np.argsort(-logits, axis=1)
    assert scores.metrics()["top1"].value == (order[:, 0] == labels).mean()
    assert scores.metrics()["top5"].value == (order[:, :5] == labels[:, None]).any(axis=1).mean()


def test_few_classes_have_no_top5() -> None:
    scores = ClassScores("")
    scores.update(np.eye(3), np.array([0, 1, 1]))
    assert set(scores.metrics()) == {"top1"}


def test_binary_scores_are_their_definitions() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal(500) * 3, rng.integers(0, 2, 500)
    scores = BinaryScores("binary-classification")
    for start in range(0, 500, 64):
        scores.update(logits[start : start + 64, None], labels[start : start + 64])
    found = scores.metrics()
    pairs = logits[labels == 1][:, None] > logits[labels == 0]
    assert found["auroc"].value == pytest.approx(pairs.mean())
    probability = 1 / (1 + np.exp(-logits))
    loss = -np.where(labels == 1, np.log(probability), np.log(1 - probability)).mean()
    assert found["log_loss"].value == pytest.approx(loss)
    assert found["accuracy"].value == ((probability > 0.5) == labels).mean()


def test_auroc_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Two normals one deviation apart: the true area is Phi(1 / sqrt 2)."""
    rng, truth, hits = np.random.default_rng(0), norm.cdf(1 / np.sqrt(2)), 0
    labels = np.arange(300) % 3 % 2
    for _ in range(400):
        scores = BinaryScores("binary-classification")
        scores.update(rng.standard_normal(300) + labels, labels)
        area = scores.metrics()["auroc"]
        hits += area.low <= truth <= area.high
    assert hits / 400 == pytest.approx(0.95, abs=0.035)


def test_embeddings_are_scored_by_pairs() -> None:
    rng = np.random.default_rng(0)
    exact = rng.standard_normal((200, 16))
    scores = VectorScores("sentence-embedding")
    scores.update(2 * exact, scores.targets(exact))
    assert scores.metrics()["spearman"].value == pytest.approx(1)
    gold = VectorScores("sentence-embedding")
    gold.update(exact, rng.standard_normal(100).repeat(2))
    assert set(gold.metrics()) == {"spearman"}
    assert abs(gold.metrics()["spearman"].value) < 0.3


@given(st.integers(1, 500), st.data())
def test_interval_holds_the_value_and_stays_in_bounds(examples: int, data) -> None:
    share = Estimate.share(data.draw(st.integers(0, examples)), examples)
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = rng.binomial(400, 0.9, 2000)
    covered = [(share := Estimate.share(int(hits), 400)).low <= 0.9 <= share.high for hits in draws]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


def test_paired_difference_is_tighter_than_two_intervals() -> None:
    paired = Difference.of(gained=10, lost=20, examples=2000)
    assert paired.value == pytest.approx(-0.005)
    alone = Estimate.share(1800, 2000)
    assert paired.high - paired.low < (alone.high - alone.low) / 2


def test_agreement_and_difference() -> None:
    pairs = PairedCounts()
    ours, theirs = np.array([0, 1, 2, 3]), np.array([0, 1, 1, 2])
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
