"""Files for the tools that take over: a target is one file here and one line in registries.HAND_OFFS. No torch here."""

from mpq_onnx.handoff_targets.target import Target
from mpq_onnx.registries import HAND_OFFS as TARGETS

__all__ = ["TARGETS", "Target"]
