"""compare: two files of one network, node by node on the same data. No torch here."""

import os

from mpq_onnx.datasets import open_dataset
from mpq_onnx.graph.model_file import load_model
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.runtime.comparison import NodeNoise, compare_tensors


def compare(
    exact: str | os.PathLike[str], changed: str | os.PathLike[str], data: str, *, device: str = "auto"
) -> list[NodeNoise]:
    """SQNR of every tensor that both files have.

    Args:
        exact: the reference, usually the float file.
        changed: usually a quantized file made from it.
        data: data spec.

    Raises:
        MpqOnnxError: see its subclasses.
    """
    first, second = load_model(exact), load_model(changed)
    dataset = open_dataset(data, model_inputs(first), first.metadata_props)
    return compare_tensors(first, second, dataset, device)
