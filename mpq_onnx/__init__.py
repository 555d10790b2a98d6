"""mpq-onnx: finds the precision that every node of an ONNX network needs, and writes an ONNX file that runs.

The verbs are those of the command line: export, inspect, calibrate, allocate, apply, evaluate, compare, search, convert, card,
handoff, profile, sweep, report (report_folder), models, targets (shipped_targets). Each is imported when it is first used, so
that inspect, evaluate, compare, card and handoff never load torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpq_onnx.documents.allocation import Allocation
    from mpq_onnx.documents.energy_allocation import EnergyAllocation, NodeEnergy
    from mpq_onnx.documents.loading import load_allocation, load_document, load_energy_allocation
    from mpq_onnx.documents.node_precision import NodePrecision
    from mpq_onnx.errors import MpqOnnxError
    from mpq_onnx.runs.allocating import AllocateResult, allocate
    from mpq_onnx.runs.allocating_energy import AllocateEnergyResult, allocate_energy
    from mpq_onnx.runs.applying import ApplyResult, apply
    from mpq_onnx.runs.applying_energy import ApplyEnergyResult, apply_energy
    from mpq_onnx.runs.calibrating import calibrate
    from mpq_onnx.runs.carding import card
    from mpq_onnx.runs.comparing import compare
    from mpq_onnx.runs.converting import noise_to_bits
    from mpq_onnx.runs.drawing import DrawGraphResult, draw_graph
    from mpq_onnx.runs.energy_options import EnergyOptions
    from mpq_onnx.runs.evaluating import EvaluateResult, evaluate
    from mpq_onnx.runs.exporting import ExportResult, export
    from mpq_onnx.runs.goals import Drop, Goal
    from mpq_onnx.runs.handing_off import HandoffResult, handoff
    from mpq_onnx.runs.inspecting import InspectResult, inspect
    from mpq_onnx.runs.joining import joined_ranks
    from mpq_onnx.runs.listing import models, shipped_targets
    from mpq_onnx.runs.options import AllocateOptions
    from mpq_onnx.runs.probing import Interval, SearchResult
    from mpq_onnx.runs.profile_options import ProfileOptions
    from mpq_onnx.runs.profiling import ProfileResult, profile
    from mpq_onnx.runs.reporting import ReportResult, report_folder
    from mpq_onnx.runs.searching import energy_interval, resource_interval, search_bits, search_energy
    from mpq_onnx.runs.sweeping import SweepResult, sweep
    from mpq_onnx.targets.description import Target
    from mpq_onnx.targets.loading import load_target

__version__ = "0.1.0"

_HOMES = {
    "Allocation": "documents.allocation",
    "NodePrecision": "documents.node_precision",
    "load_allocation": "documents.loading",
    "EnergyAllocation": "documents.energy_allocation",
    "NodeEnergy": "documents.energy_allocation",
    "load_energy_allocation": "documents.loading",
    "load_document": "documents.loading",
    "MpqOnnxError": "errors",
    "AllocateEnergyResult": "runs.allocating_energy",
    "allocate_energy": "runs.allocating_energy",
    "ApplyEnergyResult": "runs.applying_energy",
    "apply_energy": "runs.applying_energy",
    "EnergyOptions": "runs.energy_options",
    "noise_to_bits": "runs.converting",
    "Drop": "runs.goals",
    "Goal": "runs.goals",
    "Interval": "runs.probing",
    "SearchResult": "runs.probing",
    "energy_interval": "runs.searching",
    "resource_interval": "runs.searching",
    "search_bits": "runs.searching",
    "search_energy": "runs.searching",
    "AllocateOptions": "runs.options",
    "AllocateResult": "runs.allocating",
    "allocate": "runs.allocating",
    "ApplyResult": "runs.applying",
    "apply": "runs.applying",
    "calibrate": "runs.calibrating",
    "card": "runs.carding",
    "ProfileOptions": "runs.profile_options",
    "ProfileResult": "runs.profiling",
    "profile": "runs.profiling",
    "ReportResult": "runs.reporting",
    "report_folder": "runs.reporting",
    "DrawGraphResult": "runs.drawing",
    "draw_graph": "runs.drawing",
    "SweepResult": "runs.sweeping",
    "sweep": "runs.sweeping",
    "compare": "runs.comparing",
    "EvaluateResult": "runs.evaluating",
    "evaluate": "runs.evaluating",
    "ExportResult": "runs.exporting",
    "export": "runs.exporting",
    "HandoffResult": "runs.handing_off",
    "handoff": "runs.handing_off",
    "InspectResult": "runs.inspecting",
    "inspect": "runs.inspecting",
    "joined_ranks": "runs.joining",
    "models": "runs.listing",
    "shipped_targets": "runs.listing",
    "Target": "targets.description",
    "load_target": "targets.loading",
}

__all__ = [
    "AllocateEnergyResult",
    "AllocateOptions",
    "AllocateResult",
    "Allocation",
    "ApplyEnergyResult",
    "ApplyResult",
    "DrawGraphResult",
    "Drop",
    "EnergyAllocation",
    "EnergyOptions",
    "EvaluateResult",
    "ExportResult",
    "Goal",
    "HandoffResult",
    "InspectResult",
    "Interval",
    "MpqOnnxError",
    "NodeEnergy",
    "NodePrecision",
    "ProfileOptions",
    "ProfileResult",
    "ReportResult",
    "SearchResult",
    "SweepResult",
    "Target",
    "allocate",
    "allocate_energy",
    "apply",
    "apply_energy",
    "calibrate",
    "card",
    "compare",
    "draw_graph",
    "energy_interval",
    "evaluate",
    "export",
    "handoff",
    "inspect",
    "joined_ranks",
    "load_allocation",
    "load_document",
    "load_energy_allocation",
    "load_target",
    "models",
    "noise_to_bits",
    "profile",
    "report_folder",
    "resource_interval",
    "search_bits",
    "search_energy",
    "shipped_targets",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mpq_onnx' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"mpq_onnx.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        from mpq_onnx.packages import missing_package

        missing = missing_package(error)
        if missing is None:
            raise
        raise missing from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
