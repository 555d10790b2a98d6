"""A normalization as data, and the standard operators that compute it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.fresh_names import fresh_name
from mpq_onnx.ops.composites import DOMAIN, VERSION
from mpq_onnx.passes.fusing.axes import varying_axes
from mpq_onnx.passes.fusing.root_rule import Build


@dataclass(frozen=True)
class Normalized:
    """`x` normalized over `axes`, then times `scale` plus `bias`, which broadcast beside `x`."""

    x: ir.Value
    axes: tuple[int, ...]
    epsilon: float
    scale: np.ndarray
    bias: np.ndarray
    centred: bool
    """Whether the mean is taken off: LayerNorm and InstanceNorm, not RMSNorm."""

    def build(self, output: ir.Value) -> Build | None:
        """Nodes of standard operators in place of `output`; None where a size that they need is not known."""
        varying = {*self._varying(self.scale), *self._varying(self.bias)}
        over_space = self.rank >= 3 and self.axes == tuple(range(2, self.rank))
        if over_space and self.centred and isinstance(self.sizes[1], int):
            per_channel = varying == {1}
            if per_channel or (self.rank > 3 and not varying):
                return lambda op: self._instance(op, output)
        if not all(isinstance(self.sizes[axis], int) for axis in self.axes):
            return None
        inside = varying <= set(self.axes)
        return lambda op: self._layer(op, output, inside)

    @property
    def rank(self) -> int:
        return len(self.sizes)

    @property
    def sizes(self) -> Sequence[int | ir.SymbolicDim]:
        assert self.x.shape is not None
        return tuple(self.x.shape)

    def _varying(self, array: np.ndarray) -> tuple[int, ...]:
        return varying_axes(array, self.rank)

    def _instance(self, op: Any, output: ir.Value) -> ir.Value:
        channels = int(self.sizes[1])  # type: ignore[arg-type]
        scale, bias = (
            self._constant(op, np.broadcast_to(array.reshape(-1), (channels,)), output, kind)
            for array, kind in ((self.scale, "gamma"), (self.bias, "beta"))
        )
        return op.InstanceNormalization(self.x, scale, bias, epsilon=self.epsilon)

    def _layer(self, op: Any, output: ir.Value, inside: bool) -> ir.Value:
        """LayerNormalization or RMSNormalization, between Transposes where the axes are not the last ones."""
        rest = [axis for axis in range(self.rank) if axis not in self.axes]
        order = [*rest, *self.axes]
        moved = order != list(range(self.rank))
        x = op.Transpose(self.x, perm=order) if moved else self.x
        scale, bias = self.scale, self.bias
        if not inside:
            scale, bias = np.array(1.0), np.array(0.0)
        sizes = [int(self.sizes[axis]) for axis in self.axes]  # type: ignore[arg-type]
        inputs = [self._constant(op, self._spread(scale, sizes), output, "gamma")]
        if self.centred and bias.any():
            inputs.append(self._constant(op, self._spread(bias, sizes), output, "beta"))
        attributes = {"axis": -len(self.axes), "epsilon": self.epsilon}
        if self.centred:
            y = op.LayerNormalization(x, *inputs, **attributes)
        else:
            y = op.RMSNormalization(x, *inputs, **attributes, _domain=DOMAIN, _version=VERSION)
        if moved:
            y = op.Transpose(y, perm=[order.index(axis) for axis in range(self.rank)])
        if not inside:
            y = op.Mul(y, self._constant(op, self.scale, output, "gamma_beside"))
        if self.bias.any() and not (inside and self.centred):
            y = op.Add(y, self._constant(op, self.bias, output, "beta_beside"))
        return y

    def _spread(self, array: np.ndarray, sizes: list[int]) -> np.ndarray:
        """`array`, which varies along normalized axes alone, in the shape of those axes."""
        full = array.reshape((1,) * (self.rank - array.ndim) + array.shape)
        return np.broadcast_to(full.reshape([full.shape[axis] for axis in self.axes]), sizes)

    def _constant(self, op: Any, array: np.ndarray, output: ir.Value, kind: str) -> ir.Value:
        graph = output.producer().graph  # type: ignore[union-attr]
        name = f"{output.name}_{kind}"
        if isinstance(graph, ir.Graph):
            name = fresh_name(graph, name)
        dtype = (self.x.dtype or ir.DataType.FLOAT).numpy()
        return op.Constant(value=ir.tensor(np.ascontiguousarray(array, dtype), name=name), _outputs=[name])
