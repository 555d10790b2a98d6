"""The shape of one multiply-accumulate node for noise, in torch: the ONNX geometry itself (ops.geometry), computed at once.

What an ONNX function is built from there is called here with tensors instead of values, and a node's own attributes instead of
references to the function's.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from mpq_onnx.mirror.ops import OP_TABLE
from mpq_onnx.ops import GEOMETRIES
from mpq_onnx.ops.geometry import Geometry


class EagerOperators:
    """An onnxscript builder's operators on tensors."""

    def __init__(self, attributes: Mapping[str, Any], device: torch.device) -> None:
        """Args: attributes: of the node; defaults included where a geometry asks for their value."""
        self.attributes, self.device = attributes, device
        self.constants: dict[tuple[str, str], Tensor] = {}

    def __getattr__(self, op_type: str) -> Callable[..., Any]:
        return partial(self._run, op_type)

    def _run(self, op_type: str, *operands: Tensor | None, **attributes: Any) -> Any:
        given = {
            name: self._value(each)
            for name, each in attributes.items()
            if not isinstance(each, ir.Attr) or each.ref_attr_name in self.attributes
        }
        while operands and operands[-1] is None:
            operands = operands[:-1]
        found = OP_TABLE[op_type](*operands, **given)
        # A view whose elements are one in memory takes convolutions off their fast path.
        return found.contiguous() if op_type == "Expand" else found

    def Constant(self, **value: Any) -> Tensor:  # noqa: N802 - ONNX's name
        """A tensor of one value, or of several; made once, as a node asks for the same ones again and again."""
        ((kind, given),) = value.items()
        key = (kind, str(given.ref_attr_name) if isinstance(given, ir.Attr) else repr(given))
        if key not in self.constants:
            self.constants[key] = torch.tensor(self._value(given), device=self.device)
        return self.constants[key]

    def _value(self, given: Any) -> Any:
        return self.attributes[str(given.ref_attr_name)] if isinstance(given, ir.Attr) else given


class MacGeometry:
    """A node's geometry in torch; the terms are those of ops.geometry.Geometry."""

    def __init__(self, op_type: str, attributes: Mapping[str, Any], device: torch.device) -> None:
        self.geometry: Geometry = GEOMETRIES[op_type]
        defaults = {
            name: value
            for name, value in self.geometry.attributes.items()
            if not isinstance(value, ir.AttributeType)
        }
        self.operators: Any = EagerOperators({**defaults, **attributes}, device)

    def mac(self, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        """The noise-free operator."""
        return self.geometry.mac(self.operators, x, w, b)  # type: ignore[arg-type, return-value]

    def __getattr__(self, term: str) -> Callable[..., Any]:
        return partial(getattr(self.geometry, term), self.operators)
