"""Every multiply-accumulate node with a constant weight as one batched matrix product.

y[n, g, o, l] = sum_k weight[g, o, k] * patches[n, g, k, l]: n example, g group, o output channel of the group, k tap of the
receptive field, l output position. Second moments of the patches and per-example weight gradients need just this form.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mpq_onnx.graph.example_layout import ExampleLayout, examples_first
from mpq_onnx.mirror.ops.sliding_window import AxisPads, pad_spatial, sliding_window

MIRRORED_FROM, MIRRORED_PARTS = 512, 6
"""Taps from which on a symmetric moment is computed below its diagonal alone, and in how many parts."""


@dataclass(frozen=True)
class MatrixForm:
    """One use of a constant weight, seen as above."""

    op_type: str
    attributes: Mapping[str, Any]
    input_layout: ExampleLayout
    output_layout: ExampleLayout
    """Where the examples lie in what the node reads and makes."""

    def patches(self, x: Tensor, weight: Tensor) -> Tensor:
        """The node's input as patches [n, g, k, l]."""
        if self._slides:
            return self._by_example(self._unfolded(self._windows(x, weight), weight))
        scaled = self.attributes.get("alpha", 1.0) * x if self.op_type == "Gemm" else x
        return self._columns(scaled, weight, self.input_layout)

    def sampled_patches(
        self, inputs: Sequence[Tensor], weight: Tensor, wanted: int, generator: torch.Generator
    ) -> list[Tensor]:
        """The patches of several inputs of one shape at the same `wanted` output positions, drawn at random; at all where
        there are no more."""
        if not self._slides or self.input_layout.rows > 1:
            found = [self.patches(x, weight) for x in inputs]
            chosen = _draw(found[0].shape[3], wanted, generator, weight.device)
            return found if chosen is None else [each[..., chosen] for each in found]
        windows = [self._windows(x, weight) for x in inputs]
        axes = windows[0].shape[2 : weight.dim()]
        chosen = _draw(math.prod(axes), wanted, generator, weight.device)
        if chosen is None:
            return [self.patches(x, weight) for x in inputs]
        # Drawn before they are unfolded: most positions are never copied.
        index: tuple[Any, ...] = (slice(None), slice(None), *torch.unravel_index(chosen, axes))
        return [self._unfolded(each[index], weight) for each in windows]

    @property
    def _slides(self) -> bool:
        return self.op_type in ("Conv", "ConvTranspose")

    def _windows(self, x: Tensor, weight: Tensor) -> Tensor:
        """The receptive field of every output position, [n, c, *positions, *kernel]; a view of the padded input."""
        slide = _conv_windows if self.op_type == "Conv" else _conv_transpose_windows
        return slide(x, weight, self.attributes)

    def _unfolded(self, windows: Tensor, weight: Tensor) -> Tensor:
        """[n, c, *positions, *kernel], or the positions in one axis, as [n, g, k, l]."""
        groups = self.attributes.get("group", 1)
        examples, channels = windows.shape[:2]
        kernel = range(windows.dim() - weight.dim() + 2, windows.dim())
        taps = channels // groups * math.prod(windows.shape[kernel.start :])
        ordered = windows.permute(0, 1, *kernel, *range(2, kernel.start))
        return ordered.reshape(examples, groups, taps, -1)

    def outputs(self, y: Tensor, weight: Tensor) -> Tensor:
        """The node's output (or its gradient) as [n, g, o, l]."""
        if self.op_type in ("Conv", "ConvTranspose"):
            groups = self.attributes.get("group", 1)
            return self._by_example(y.reshape(y.shape[0], groups, y.shape[1] // groups, -1))
        return self._columns(y, weight, self.output_layout)

    def weight_matrix(self, weight: Tensor) -> Tensor:
        """The node's weight as [g, o, k]."""
        groups = self.attributes.get("group", 1)
        if self.op_type == "Conv":
            return weight.reshape(groups, weight.shape[0] // groups, -1)
        if self.op_type == "ConvTranspose":
            kernel = weight.flip(list(range(2, weight.dim())))
            split = kernel.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
            return split.transpose(1, 2).reshape(groups, weight.shape[1], -1)
        stacked = weight.reshape(-1, *weight.shape[-2:])
        return stacked if self._rows_are_channels else stacked.transpose(1, 2)

    def weight_from_matrix(self, matrix: Tensor, weight: Tensor) -> Tensor:
        """Inverse of weight_matrix; `weight` gives the shape."""
        if self.op_type == "ConvTranspose":
            groups = self.attributes.get("group", 1)
            split = matrix.reshape(groups, weight.shape[1], weight.shape[0] // groups, *weight.shape[2:])
            return split.transpose(1, 2).reshape(weight.shape).flip(list(range(2, weight.dim())))
        if self.op_type == "Conv" or self._rows_are_channels:
            return matrix.reshape(weight.shape)
        return matrix.transpose(1, 2).reshape(weight.shape)

    @property
    def _rows_are_channels(self) -> bool:
        return self.op_type == "Gemm" and bool(self.attributes.get("transB", 0))

    def _by_example(self, items: Tensor) -> Tensor:
        """[n * rows, g, k, l] with the rows of an example beside its positions: [n, g, k, rows * l]."""
        rows = self.input_layout.rows
        if rows == 1:
            return items
        found = examples_first(items, self.input_layout, items.shape[0] // rows)
        return found.permute(0, 2, 3, 1, 4).reshape(found.shape[0], *items.shape[1:3], -1)

    def _columns(self, x: Tensor, weight: Tensor, layout: ExampleLayout) -> Tensor:
        """The rows of a matrix operand [..., rows, k], or of the result, as [n, g, k, l]; g runs over a stack of weights."""
        stack = weight.shape[:-2]
        examples = x.shape[layout.axis] // layout.rows
        if math.prod(stack) == 1:
            by_example = examples_first(x, layout, examples)
            return by_example.reshape(examples, -1, x.shape[-1]).transpose(1, 2).unsqueeze(1)
        lead = x.dim() - 2 - len(stack)
        wide = x.expand(*x.shape[:lead], *stack, *x.shape[-2:])
        by_example = examples_first(wide, layout, examples)
        parted = by_example.reshape(examples, -1, math.prod(stack), *x.shape[-2:])
        return parted.permute(0, 2, 4, 1, 3).reshape(examples, math.prod(stack), x.shape[-1], -1)


def _conv_windows(x: Tensor, weight: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    window = sliding_window(x.shape[2:], weight.shape[2:], attributes)
    return _slide(window.pad(x), window.extents, window.strides, window.dilations)


def _conv_transpose_windows(x: Tensor, weight: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    """A transposed convolution is a convolution of the input with zeros between its elements."""
    window = sliding_window(x.shape[2:], weight.shape[2:], attributes)
    rank = len(window.kernel)
    extra = attributes.get("output_padding") or [0] * rank
    sizes = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], window.strides, strict=True)]
    spread = x.new_zeros(*x.shape[:2], *sizes)
    spread[_every(window.strides)] = x
    around: AxisPads = [
        (extent - 1 - begin, extent - 1 - end + more)
        for extent, (begin, end), more in zip(window.extents, window.pads, extra, strict=True)
    ]
    return _slide(pad_spatial(spread, around), window.extents, [1] * rank, window.dilations)


def _every(steps: list[int]) -> Any:
    """An index that takes every so manieth element along each of the last axes."""
    return (Ellipsis, *(slice(None, None, step) for step in steps))


def _slide(x: Tensor, extents: list[int], strides: list[int], dilations: list[int]) -> Tensor:
    for axis, (extent, stride) in enumerate(zip(extents, strides, strict=True)):
        x = x.unfold(2 + axis, extent, stride)
    return x[_every(dilations)]


def _draw(count: int, wanted: int, generator: torch.Generator, device: torch.device) -> Tensor | None:
    """`wanted` of `count` positions; None where that is all."""
    return torch.randperm(count, generator=generator)[:wanted].to(device) if wanted < count else None


def second_moment(left: Tensor, right: Tensor) -> Tensor:
    """sum over examples and positions of left right^T, [g, k, k], from two patches [n, g, k, l].

    Of patches with themselves it is symmetric, and half the work.
    """
    if left is not right or left.shape[2] < MIRRORED_FROM:
        return torch.einsum("ngkl,ngml->gkm", left, right)
    groups, taps = left.shape[1:3]
    rows = left.permute(1, 2, 0, 3).reshape(groups, taps, -1)
    found = left.new_empty(groups, taps, taps)
    size = -(-taps // MIRRORED_PARTS)
    for start in range(0, taps, size):
        end = min(start + size, taps)
        lower = rows[:, start:] @ rows[:, start:end].transpose(1, 2)
        found[:, start:, start:end] = lower
        found[:, start:end, start:] = lower.transpose(1, 2)
    return found
