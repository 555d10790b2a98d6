"""Einsums that are a matrix product: the operands' axes in another order, or several that are summed over."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mpq_onnx.graph.example_layout import ExampleLayout
from mpq_onnx.graph.mac import split_equation
from mpq_onnx.mirror.matrix_form import MatrixForm


@dataclass(frozen=True)
class EinsumForm(MatrixForm):
    """One use of a weight in an Einsum, by the MatMul [..., k] x [k, o] that it comes to once axes are moved."""

    product: MatrixForm = dataclasses.field(kw_only=True)
    data_order: tuple[int, ...] = dataclasses.field(kw_only=True)
    """Axes of the data: those of the result in its order, then those that are summed over."""
    weight_order: tuple[int, ...] = dataclasses.field(kw_only=True)
    """Axes of the weight: those that are summed over, then that of the output channels."""
    result_order: tuple[int, ...] = dataclasses.field(kw_only=True)
    """Axes of the result: the output channels last."""

    def patches(self, x: Tensor, weight: Tensor) -> Tensor:
        """See MatrixForm."""
        return self.product.patches(self._data(x), self._weight(weight))

    def sampled_patches(
        self,
        inputs: Sequence[Tensor],
        weight: Tensor,
        wanted: int,
        generator: torch.Generator,
    ) -> list[Tensor]:
        """See MatrixForm."""
        moved = [self._data(x) for x in inputs]
        return self.product.sampled_patches(moved, self._weight(weight), wanted, generator)

    def outputs(self, y: Tensor, weight: Tensor) -> Tensor:
        """See MatrixForm."""
        return self.product.outputs(y.permute(self.result_order), self._weight(weight))

    def weight_matrix(self, weight: Tensor) -> Tensor:
        """See MatrixForm."""
        return self.product.weight_matrix(self._weight(weight))

    def weight_from_matrix(self, matrix: Tensor, weight: Tensor) -> Tensor:
        """See MatrixForm."""
        moved = weight.permute(self.weight_order)
        found = self.product.weight_from_matrix(matrix, self._weight(weight)).reshape(moved.shape)
        return found.permute([self.weight_order.index(axis) for axis in range(weight.dim())])

    def _data(self, x: Tensor) -> Tensor:
        moved = x.permute(self.data_order)
        return moved.reshape(*moved.shape[: len(self.result_order) - 1], -1)

    def _weight(self, weight: Tensor) -> Tensor:
        return weight.permute(self.weight_order).reshape(-1, weight.shape[self.weight_order[-1]])


def einsum_form(
    equation: str, channel_axis: int, inner: ExampleLayout, outer: ExampleLayout
) -> EinsumForm | None:
    """The form of an Einsum of data and weight; None where it is no matrix product with the channels along `channel_axis`."""
    (data, weight), result = split_equation(equation)
    labels = {*data, *weight, *result}
    if "." in labels or any(len(set(each)) != len(each) for each in (data, weight, result)):
        return None
    summed = [label for label in weight if label in data and label not in result]
    channels = [label for label in weight if label in result and label not in data]
    rows = [label for label in result if label in data and label not in weight]
    is_product = len(summed) + 1 == len(weight) and [weight[channel_axis]] == channels and bool(rows)
    if not is_product or len(rows) + 1 != len(result) or len(rows) + len(summed) != len(data):
        return None
    data_order = tuple(data.index(label) for label in [*rows, *summed])
    result_order = tuple(result.index(label) for label in [*rows, *channels])
    if data[inner.axis] not in rows or result[outer.axis] not in rows:
        return None
    product = MatrixForm(
        "MatMul",
        {},
        dataclasses.replace(inner, axis=data_order.index(inner.axis)),
        dataclasses.replace(outer, axis=result_order.index(outer.axis)),
    )
    return EinsumForm(
        "Einsum",
        {},
        inner,
        outer,
        product=product,
        data_order=data_order,
        weight_order=tuple(weight.index(label) for label in [*summed, *channels]),
        result_order=result_order,
    )
