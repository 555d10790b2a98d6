"""The part of apply that needs torch: rounding on data, and the check of the file against its mirror."""

from dataclasses import dataclass

import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.datasets.spec_paths import spec_by_name
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.calibration import Calibration
from mpq_onnx.graph.placement import Sites
from mpq_onnx.mirror import frozen_mirror
from mpq_onnx.precision.training_data import TrainingData
from mpq_onnx.report.provenance import DataFacts
from mpq_onnx.runs.mirror_check import MirrorCheck, check_against_mirror, check_notes
from mpq_onnx.runs.quantized_graph import write_graph
from mpq_onnx.runs.quantizing import round_network, torch_device


@dataclass(frozen=True)
class Checked:
    """A quantized graph, and what is known of it from data, where there was any."""

    graph: ir.Model
    check: MirrorCheck | None
    data: DataFacts | None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of the check."""
        return check_notes(self.check)


def quantize_on_mirror(
    model: ir.Model,
    where: str,
    sites: Sites,
    allocation: Allocation,
    calibration: Calibration,
    dataset: Dataset | None,
    *,
    examples: int,
    storage: str,
    device: str,
) -> Checked:
    """Round on the first `examples` of `dataset`, write the graph, and hold it against the mirror.

    Args:
        model: the canonical float model, scaled where channels are equalized; `where` names it in errors.
    """
    mirror = frozen_mirror(model, where, torch_device(device))
    training = TrainingData(dataset, mirror, torch_device(device)) if dataset is not None else None
    network = round_network(model, mirror, sites, allocation, calibration, training, examples)
    graph = write_graph(model, allocation, network, storage)
    if dataset is None or training is None:
        return Checked(graph, None, None)
    check = check_against_mirror(graph, mirror, network, dataset, device)
    return Checked(graph, check, DataFacts(spec_by_name(dataset.name), len(training), training.sha256))
