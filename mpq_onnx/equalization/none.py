"""Equalization "none"."""

import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.equalization import Factors
from mpq_onnx.graph.placement import Shapes


def factors(model: ir.Model, shapes: Shapes, dataset: Dataset, device: str) -> Factors:
    """Nothing is scaled."""
    return {}
