"""The shape of multiply-accumulate nodes for noise, in torch: the twin of ops/ (see ops.geometry.Geometry for the terms)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from mpq_onnx.mirror.ops import OP_TABLE

FIRST_SPATIAL_AXIS = 2


class MacGeometry:
    """One node: its operator, attributes, and the view of its output in which the noise's quantities broadcast."""

    def __init__(self, op_type: str, attributes: Mapping[str, Any]) -> None:
        self.attributes = dict(attributes)
        self.function: Callable[..., Tensor] = OP_TABLE[op_type]

    def mac(self, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        """The noise-free operator."""
        operands = (x, w) if b is None else (x, w, b)
        return self.function(*operands, **self.attributes)

    def input_square_sum(self, x: Tensor, w: Tensor) -> Tensor:
        """Sum of x^2 over the receptive field of each output, in the view."""
        raise NotImplementedError

    def weight_square_sum(self, x: Tensor, w: Tensor) -> Tensor:
        """Sum of w^2 over the taps of each output that fall on the input, in the view."""
        raise NotImplementedError

    def over_output(self, channels: Tensor) -> Tensor:
        """A vector over output channels (or of one element), in the view."""
        return channels

    def over_weight(self, channels: Tensor, w: Tensor) -> Tensor:
        """The same vector, broadcasting over the weight."""
        return channels

    def view(self, y: Tensor) -> Tensor:
        """The output as the quantities see it."""
        return y

    @property
    def gain(self) -> float:
        """A factor that the operator puts on the sum of its products."""
        return 1.0


class ConvolutionGeometry(MacGeometry):
    """The view is [N, groups, channels of a group, positions]."""

    @property
    def groups(self) -> int:
        return int(self.attributes.get("group", 1))

    def view(self, y: Tensor) -> Tensor:
        return y.reshape(y.shape[0], self.groups, y.shape[1] // self.groups, -1)

    def over_output(self, channels: Tensor) -> Tensor:
        return channels.reshape(1, min(len(channels), self.groups), -1, 1)

    def input_square_sum(self, x: Tensor, w: Tensor) -> Tensor:
        grouped = x.square().reshape(x.shape[0], self.groups, -1, *x.shape[FIRST_SPATIAL_AXIS:])
        ones = x.new_ones(self.groups, 1, *w.shape[FIRST_SPATIAL_AXIS:])
        return self.mac(grouped.sum(2), ones).reshape(x.shape[0], self.groups, 1, -1)

    def weight_square_sum(self, x: Tensor, w: Tensor) -> Tensor:
        return self.view(self.mac(x.new_ones(1, *x.shape[1:]), w.square()))


class ConvGeometry(ConvolutionGeometry):
    def over_weight(self, channels: Tensor, w: Tensor) -> Tensor:
        return channels.reshape(-1, *[1] * (w.dim() - 1))


class ConvTransposeGeometry(ConvolutionGeometry):
    def over_weight(self, channels: Tensor, w: Tensor) -> Tensor:
        rows, columns = w.shape[:2]
        by_group = channels.expand(self.groups * columns).reshape(self.groups, 1, columns)
        by_row = by_group.expand(self.groups, rows // self.groups, columns)
        return by_row.reshape(rows, columns, *[1] * (w.dim() - FIRST_SPATIAL_AXIS))


class GemmGeometry(MacGeometry):
    def input_square_sum(self, x: Tensor, w: Tensor) -> Tensor:
        return x.square().sum(0 if self.attributes.get("transA", 0) else 1).reshape(-1, 1)

    def weight_square_sum(self, x: Tensor, w: Tensor) -> Tensor:
        return w.square().sum(1 if self.attributes.get("transB", 0) else 0).reshape(1, -1)

    def over_weight(self, channels: Tensor, w: Tensor) -> Tensor:
        return channels.reshape(-1, 1) if self.attributes.get("transB", 0) else channels.reshape(1, -1)

    @property
    def gain(self) -> float:
        return float(self.attributes.get("alpha", 1.0))


class MatMulGeometry(MacGeometry):
    def input_square_sum(self, x: Tensor, w: Tensor) -> Tensor:
        return x.square().sum(-1, keepdim=True)

    def weight_square_sum(self, x: Tensor, w: Tensor) -> Tensor:
        return w.square().sum(-2, keepdim=True)


class EinsumGeometry(MacGeometry):
    def input_square_sum(self, x: Tensor, w: Tensor) -> Tensor:
        return self.mac(x.square(), torch.ones_like(w))

    def weight_square_sum(self, x: Tensor, w: Tensor) -> Tensor:
        return self.mac(torch.ones_like(x), w.square())


MAC_GEOMETRIES: dict[str, type[MacGeometry]] = {
    "Conv": ConvGeometry,
    "ConvTranspose": ConvTransposeGeometry,
    "Gemm": GemmGeometry,
    "MatMul": MatMulGeometry,
    "Einsum": EinsumGeometry,
}
