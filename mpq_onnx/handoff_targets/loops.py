"""A layer as nested loops, as simulators describe one: convolutions as they are, all else as a product of matrices."""

import math
from dataclasses import asdict, dataclass, replace

from mpq_onnx.errors import UsageError
from mpq_onnx.graph.operators import RECURRENT_OPS
from mpq_onnx.handoff_targets.layers import LayerRow

SPATIAL_AXES = 2


@dataclass(frozen=True)
class Loops:
    """Sizes of the loops of one example; a product of matrices has its rows in `height` and kernels of 1."""

    groups: int
    """Independent parts, each with channels of its own."""
    outputs: int
    """Output channels of a group."""
    inputs: int
    """Input channels of a group."""
    height: int
    """Of the output."""
    width: int
    kernel_height: int = 1
    kernel_width: int = 1
    stride_height: int = 1
    stride_width: int = 1
    dilation_height: int = 1
    dilation_width: int = 1
    batch: int = 1
    """Where one example is several images."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        kernel = self.kernel_height * self.kernel_width
        positions = self.batch * self.height * self.width
        return self.groups * self.outputs * self.inputs * positions * kernel

    @property
    def fan_in(self) -> int:
        """Products summed up in one output."""
        return self.inputs * self.kernel_height * self.kernel_width

    @property
    def input_height(self) -> int:
        """Rows of the input that the windows reach, padding included."""
        return (self.height - 1) * self.stride_height + (self.kernel_height - 1) * self.dilation_height + 1

    @property
    def input_width(self) -> int:
        """Columns, likewise."""
        return (self.width - 1) * self.stride_width + (self.kernel_width - 1) * self.dilation_width + 1

    @property
    def one_group(self) -> "Loops":
        """The same for the first group alone."""
        return replace(self, groups=1)

    def document(self) -> dict[str, int]:
        """As JSON holds it."""
        return asdict(self)


def loops_of(row: LayerRow) -> Loops:
    """The loops of a layer.

    Convolutions over 1 and 2 axes are given as such. The others are the product of matrices that has their
    multiply-accumulates: a transposed convolution multiplies every input pixel with all of its kernel, a recurrent layer a
    state with all gates a step, a 3-D convolution unfolded windows with kernels.

    Raises:
        UsageError: the counts of the layer are no product of matrices.
    """
    found = _convolution(row) if _is_plain_convolution(row) else _matrix_product(row)
    if found.macs != row.macs:
        raise UsageError(
            f"node {row.name} ({row.op}): is no single product of matrices that a simulator takes; write its rows of the cost"
            " table by hand (docs/simulators.md)"
        )
    return found


def _is_plain_convolution(row: LayerRow) -> bool:
    return row.op == "Conv" and row.kernel_shape is not None and len(row.kernel_shape) <= SPATIAL_AXES


def _convolution(row: LayerRow) -> Loops:
    height, width = _two(row.output_shape[2:])
    kernel, strides, dilations = map(_two, (row.kernel_shape, row.strides, row.dilations))
    return Loops(
        groups=row.groups,
        outputs=row.weight_shape[0] // row.groups,
        inputs=row.weight_shape[1],
        height=height,
        width=width,
        kernel_height=kernel[0],
        kernel_width=kernel[1],
        stride_height=strides[0],
        stride_width=strides[1],
        dilation_height=dilations[0],
        dilation_width=dilations[1],
        batch=row.output_shape[0],
    )


def _two(lengths: tuple[int, ...] | None) -> tuple[int, int]:
    """Of the axes of an image; 1 for those that are not there."""
    height, width = (*(lengths or ()), 1, 1)[:SPATIAL_AXES]
    return height, width


def _matrix_product(row: LayerRow) -> Loops:
    groups, outputs, inputs = _matrix(row)
    rows = row.macs // max(groups * outputs * inputs, 1)
    return Loops(groups, outputs, inputs, rows, 1)


def _matrix(row: LayerRow) -> tuple[int, int, int]:
    """How many matrices are held, and their columns and rows."""
    held = row.weight_shape
    if row.op in RECURRENT_OPS:
        return held[0], held[1], held[2]
    if row.op == "ConvTranspose":
        return row.groups, math.prod(held[1:]), held[0] // row.groups
    if row.op == "Conv":
        return row.groups, held[0] // row.groups, row.fan_in
    if row.op == "Einsum" or len(held) <= SPATIAL_AXES:
        return 1, math.prod(held) // max(row.fan_in, 1), row.fan_in
    return math.prod(held[:-2]), math.prod(held[-2:]) // max(row.fan_in, 1), row.fan_in
