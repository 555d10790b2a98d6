"""Metrics by the form of a model's answers; one form a file, a new one is one file and one line in SCORES."""

from mpq_onnx.runtime.scores import binary, classes, labels, values, vectors
from mpq_onnx.runtime.scores.scores import Scores
from mpq_onnx.tasks import Answer

SCORES: dict[Answer, type[Scores]] = {
    Answer.CLASSES: classes.ClassScores,
    Answer.BINARY: binary.BinaryScores,
    Answer.VECTORS: vectors.VectorScores,
    Answer.LABELS: labels.LabelScores,
    Answer.VALUES: values.ValueScores,
}

__all__ = ["SCORES", "Scores"]
