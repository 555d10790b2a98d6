"""From an allocation to a QDQ file; what allocate and apply have in common."""

import math

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from mpq_onnx.arithmetic.quantized_network import QuantizedNetwork
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.model_file import clone
from mpq_onnx.graph.placement import Sites
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.passes.insert_qdq import InsertQdqPass
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.registries import ROUNDINGS, STORAGES
from mpq_onnx.rounding.network import quantize_network

ROUNDING_BYTES = 4 * 2**30
"""Layer by layer, all examples' values of the tensors in flight are held at once: for large images fewer examples are taken."""
TENSORS_IN_FLIGHT = 3
STREAMS = 2
"""Float and quantized."""


def torch_device(device: str) -> torch.device:
    """auto, cpu or cuda as a torch device.

    Raises:
        UsageError: cuda, where torch finds none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda: torch finds no CUDA device on this machine; use --device cpu")
    return torch.device(device)


def round_network(
    mirror: Mirror,
    sites: Sites,
    allocation: Allocation,
    calibration: Calibration,
    data: TrainingData | None,
    examples: int,
) -> QuantizedNetwork:
    """The numbers of the quantized network; rounding and bias correction see the first `examples` of `data`."""
    settings = allocation.settings
    batches: list[tuple[Tensor, ...]] = []
    method = ROUNDINGS[settings.rounding]
    if data is not None and (settings.bias_correction or method.needs_moments):
        count = min(examples, len(data), _most_examples(calibration))
        batches = [batch.inputs for batch in data.batches(method.batch_size, count)]
    return quantize_network(mirror, sites, allocation, calibration, batches)


def _most_examples(calibration: Calibration) -> int:
    """How many examples rounding can hold in ROUNDING_BYTES."""
    largest = max(math.prod(shape) for shape in calibration.shapes.values())
    return max(ROUNDING_BYTES // (STREAMS * TENSORS_IN_FLIGHT * largest * np.dtype(np.float32).itemsize), 1)


def write_graph(model: ir.Model, allocation: Allocation, network: QuantizedNetwork, storage: str) -> ir.Model:
    """The QDQ graph of a canonical float model, with its allocation in the metadata."""
    graph = clone(model)
    InsertQdqPass(network, STORAGES[storage])(graph)
    allocation.embed(graph.metadata_props)
    return graph
