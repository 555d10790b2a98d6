"""What a form of hand-off is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mpq_onnx.handoff_targets.bundle import Bundle


@dataclass(frozen=True)
class Target:
    """One format."""

    write: Callable[[Bundle, Path], list[str]]
    """Puts files into a folder and returns notes for the reader; refuses, with the list of nodes, what it cannot express."""
    runs_in_onnxruntime: bool = False
    """Its model.onnx is checked against the golden tensors."""
