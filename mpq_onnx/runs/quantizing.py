"""From an allocation to the numbers of a quantized network, on data; what allocate and apply have in common."""

import functools
import math

import onnx_ir as ir
import torch
from torch import Tensor

from mpq_onnx.arithmetic.quantized_network import QuantizedNetwork
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.batch_memory import FLOAT32_BYTES, examples_at_once
from mpq_onnx.graph.placement import Sites
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.stepwise import most_alive
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.registries import ROUNDINGS
from mpq_onnx.rounding.layerwise import weight_readers
from mpq_onnx.rounding.layerwise_network import round_layerwise
from mpq_onnx.rounding.network import quantize_network
from mpq_onnx.rounding.rounding_data import RoundingData

KEPT_MEMORY = 3 * 2**28
"""Bytes of what all examples have at a layer: large images are kept in half precision, and fewer are taken."""
BATCH_MEMORY = 2**26
"""Bytes of the largest tensor of a batch."""
STREAMS = 2
"""Float and quantized."""


def torch_device(device: str) -> torch.device:
    """auto, cpu or cuda as a torch device; where that is a GPU, torch is told to compute exactly on it from then on.

    Raises:
        UsageError: cuda, where torch finds none.
    """
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise UsageError("device cuda: torch finds no CUDA device on this machine; use --device cpu")
    chosen = ("cuda" if found else "cpu") if device == "auto" else device
    if chosen == "cuda":
        compute_exactly_on_cuda()
    return torch.device(chosen)


def compute_exactly_on_cuda() -> None:
    """Convolutions and products in float32, and by algorithms that give the same in every run; for the whole process.

    By default torch rounds what cuDNN's convolutions multiply to the 10 bits of TF32: the mirror would differ from onnxruntime
    by more than many a rounding error, and rounding edges would be decided otherwise than in the file.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def round_network(
    model: ir.Model,
    mirror: Mirror,
    sites: Sites,
    allocation: Allocation,
    calibration: Calibration,
    data: TrainingData | None,
    examples: int,
) -> QuantizedNetwork:
    """The numbers of the quantized network; rounding and bias correction see the first `examples` of `data`.

    Every rank keeps the values of its own batches.

    Args:
        model: the float model, and `mirror` its mirror.
    """
    settings = allocation.settings
    rounding_data = RoundingData.alone([])
    kept_as = torch.float32
    method = ROUNDINGS[settings.rounding]
    if data is not None and (settings.bias_correction or method.needs_moments):
        elements = {tensor: math.prod(shape) for tensor, shape in calibration.shapes.items()}
        kept = most_alive(mirror, weight_readers(mirror, sites.weights), elements)
        wanted = min(examples, len(data))
        if examples_at_once(STREAMS * kept, wanted, KEPT_MEMORY) < wanted:
            kept_as = torch.float16
        count = examples_at_once(STREAMS * kept, wanted, KEPT_MEMORY * FLOAT32_BYTES // kept_as.itemsize)
        most = min(method.batch_size, data.most_at_once)
        size = examples_at_once(max(elements.values()), most, BATCH_MEMORY)
        rounding_data = _shared(data, size, count)
    rounder = functools.partial(round_layerwise, mirror, sites, settings, rounding_data, kept_as)
    return quantize_network(model, sites, allocation, calibration, rounder, rounding_data.ranks)


def _shared(data: TrainingData, size: int, count: int) -> RoundingData:
    """The first `count` examples in batches of `size`, of which every rank keeps its own."""
    own = [*data.batches(size, count)]

    def whole() -> list[tuple[Tensor, ...]]:
        parts = data.dataset.first(count).parts(size)
        return [batch.inputs for batch in data.stream(enumerate(parts))]

    return RoundingData(
        [each.inputs for each in own], [each.place for each in own], count, whole, data.ranks, data.device
    )
