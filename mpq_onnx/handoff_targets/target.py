"""What a form of hand-off is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from mpq_onnx.handoff_targets.bundle import Bundle


@dataclass(frozen=True)
class Target:
    """One format."""

    write: Callable[[Bundle, Path], list[str]]
    """Puts files into a folder and returns notes for the reader; refuses, with the list of nodes, what it cannot express."""
    runs_in_onnxruntime: bool = False
    """Its model.onnx is loaded as it is, and checked against the golden tensors."""
    in_standard_operators: Callable[[ir.Model], None] | None = None
    """Of a form whose model.onnx has operators that onnxruntime lacks: puts others into a copy, which is checked instead."""
