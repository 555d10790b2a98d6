"""mpq-onnx: finds the precision that every node of an ONNX network needs, and writes an ONNX file that runs.

The verbs are those of the command line: export, calibrate, allocate, apply, evaluate, compare, search, convert, card, handoff,
sweep, report (report_folder), models. Each is imported when it is first used, so that evaluate, compare, card and handoff
never load torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpq_onnx.documents.allocation import Allocation, NodePrecision
    from mpq_onnx.documents.energy_allocation import EnergyAllocation, NodeEnergy
    from mpq_onnx.documents.loading import load_allocation, load_document, load_energy_allocation
    from mpq_onnx.errors import MpqOnnxError
    from mpq_onnx.workflows.allocating import AllocateResult, allocate
    from mpq_onnx.workflows.allocating_energy import AllocateEnergyResult, allocate_energy
    from mpq_onnx.workflows.applying import ApplyResult, apply
    from mpq_onnx.workflows.applying_energy import ApplyEnergyResult, apply_energy
    from mpq_onnx.workflows.calibrating import calibrate
    from mpq_onnx.workflows.carding import card
    from mpq_onnx.workflows.comparing import compare
    from mpq_onnx.workflows.converting import noise_to_bits
    from mpq_onnx.workflows.energy_options import EnergyOptions
    from mpq_onnx.workflows.evaluating import EvaluateResult, evaluate
    from mpq_onnx.workflows.exporting import ExportResult, export
    from mpq_onnx.workflows.handing_off import HandoffResult, handoff
    from mpq_onnx.workflows.listing import models
    from mpq_onnx.workflows.options import AllocateOptions
    from mpq_onnx.workflows.reporting import ReportResult, report_folder
    from mpq_onnx.workflows.searching import Goal, Interval, SearchResult, search_bits, search_energy
    from mpq_onnx.workflows.sweeping import SweepResult, sweep

__version__ = "0.1.0"

_HOMES = {
    "Allocation": "documents.allocation",
    "NodePrecision": "documents.allocation",
    "load_allocation": "documents.loading",
    "EnergyAllocation": "documents.energy_allocation",
    "NodeEnergy": "documents.energy_allocation",
    "load_energy_allocation": "documents.loading",
    "load_document": "documents.loading",
    "MpqOnnxError": "errors",
    "AllocateEnergyResult": "workflows.allocating_energy",
    "allocate_energy": "workflows.allocating_energy",
    "ApplyEnergyResult": "workflows.applying_energy",
    "apply_energy": "workflows.applying_energy",
    "EnergyOptions": "workflows.energy_options",
    "noise_to_bits": "workflows.converting",
    "Goal": "workflows.searching",
    "Interval": "workflows.searching",
    "SearchResult": "workflows.searching",
    "search_bits": "workflows.searching",
    "search_energy": "workflows.searching",
    "AllocateOptions": "workflows.options",
    "AllocateResult": "workflows.allocating",
    "allocate": "workflows.allocating",
    "ApplyResult": "workflows.applying",
    "apply": "workflows.applying",
    "calibrate": "workflows.calibrating",
    "card": "workflows.carding",
    "ReportResult": "workflows.reporting",
    "report_folder": "workflows.reporting",
    "SweepResult": "workflows.sweeping",
    "sweep": "workflows.sweeping",
    "compare": "workflows.comparing",
    "EvaluateResult": "workflows.evaluating",
    "evaluate": "workflows.evaluating",
    "ExportResult": "workflows.exporting",
    "export": "workflows.exporting",
    "HandoffResult": "workflows.handing_off",
    "handoff": "workflows.handing_off",
    "models": "workflows.listing",
}

__all__ = [
    "AllocateEnergyResult",
    "AllocateOptions",
    "AllocateResult",
    "Allocation",
    "ApplyEnergyResult",
    "ApplyResult",
    "EnergyAllocation",
    "EnergyOptions",
    "EvaluateResult",
    "ExportResult",
    "Goal",
    "HandoffResult",
    "Interval",
    "MpqOnnxError",
    "NodeEnergy",
    "NodePrecision",
    "ReportResult",
    "SearchResult",
    "SweepResult",
    "allocate",
    "allocate_energy",
    "apply",
    "apply_energy",
    "calibrate",
    "card",
    "compare",
    "evaluate",
    "export",
    "handoff",
    "load_allocation",
    "load_document",
    "load_energy_allocation",
    "models",
    "noise_to_bits",
    "report_folder",
    "search_bits",
    "search_energy",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mpq_onnx' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mpq_onnx.{_HOMES[name]}"), name)
