"""mpq-onnx: finds the precision that every node of an ONNX network needs, and writes an ONNX file that runs.

The verbs are those of the command line: export, calibrate, allocate, apply, evaluate, compare. Each is imported when it is
first used, so that evaluate and compare never load torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpq_onnx.allocation import Allocation, NodePrecision, load_allocation
    from mpq_onnx.errors import MpqOnnxError
    from mpq_onnx.workflows.allocating import AllocateResult, allocate
    from mpq_onnx.workflows.applying import ApplyResult, apply
    from mpq_onnx.workflows.calibrating import calibrate
    from mpq_onnx.workflows.comparing import compare
    from mpq_onnx.workflows.evaluating import EvaluateResult, evaluate
    from mpq_onnx.workflows.exporting import ExportResult, export
    from mpq_onnx.workflows.options import AllocateOptions

__version__ = "0.1.0"

_HOMES = {
    "Allocation": "allocation",
    "NodePrecision": "allocation",
    "load_allocation": "allocation",
    "MpqOnnxError": "errors",
    "AllocateOptions": "workflows.options",
    "AllocateResult": "workflows.allocating",
    "allocate": "workflows.allocating",
    "ApplyResult": "workflows.applying",
    "apply": "workflows.applying",
    "calibrate": "workflows.calibrating",
    "compare": "workflows.comparing",
    "EvaluateResult": "workflows.evaluating",
    "evaluate": "workflows.evaluating",
    "ExportResult": "workflows.exporting",
    "export": "workflows.exporting",
}

__all__ = [
    "AllocateOptions",
    "AllocateResult",
    "Allocation",
    "ApplyResult",
    "EvaluateResult",
    "ExportResult",
    "MpqOnnxError",
    "NodePrecision",
    "allocate",
    "apply",
    "calibrate",
    "compare",
    "evaluate",
    "export",
    "load_allocation",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mpq_onnx' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mpq_onnx.{_HOMES[name]}"), name)
