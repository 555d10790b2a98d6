"""Every layer as a matrix product equals the layer itself, with stride, padding, dilation and groups."""

import pytest
import torch
import torch.nn.functional as F

from mpq_onnx.mirror.matrix_form import input_patches, output_matrix, weight_from_matrix, weight_matrix


def through_matrices(op: str, x: torch.Tensor, weight: torch.Tensor, attributes: dict) -> torch.Tensor:
    """The layer's output as [n, g, o, l]."""
    patches = input_patches(op, x, weight, attributes)
    return torch.einsum("gok,ngkl->ngol", weight_matrix(op, weight, attributes), patches)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 0, 1, 1), (2, 1, 1, 2), (1, 2, 2, 4), (2, 1, 2, 1)]
)
def test_convolution(stride: int, padding: int, dilation: int, groups: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, 11, 9), torch.randn(8, 4 // groups, 3, 2)
    attributes = {
        "strides": [stride] * 2,
        "pads": [padding] * 4,
        "dilations": [dilation] * 2,
        "group": groups,
    }
    wanted = F.conv2d(x, weight, None, stride, padding, dilation, groups)
    found = through_matrices("Conv", x, weight, attributes)
    torch.testing.assert_close(found, output_matrix("Conv", wanted, attributes), rtol=1e-4, atol=1e-4)
    assert torch.equal(
        weight_from_matrix("Conv", weight_matrix("Conv", weight, attributes), weight, attributes), weight
    )


@pytest.mark.parametrize(
    ("stride", "padding", "extra", "groups"), [(1, 0, 0, 1), (2, 1, 1, 2), (3, 0, 2, 1), (2, 1, 0, 4)]
)
def test_transposed_convolution(stride: int, padding: int, extra: int, groups: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, 5, 6), torch.randn(4, 3, 3, 4)
    attributes = {
        "strides": [stride] * 2,
        "pads": [padding] * 4,
        "output_padding": [extra] * 2,
        "group": groups,
    }
    wanted = F.conv_transpose2d(x, weight, None, stride, padding, extra, groups)
    found = through_matrices("ConvTranspose", x, weight, attributes)
    torch.testing.assert_close(
        found, output_matrix("ConvTranspose", wanted, attributes), rtol=1e-4, atol=1e-4
    )
    matrix = weight_matrix("ConvTranspose", weight, attributes)
    assert torch.equal(weight_from_matrix("ConvTranspose", matrix, weight, attributes), weight)


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int) -> None:
    x, weight = torch.randn(3, 5), torch.randn(5, 7)
    attributes = {"transB": transposed, "alpha": 0.5}
    stored = weight.t().contiguous() if transposed else weight
    wanted = 0.5 * x @ weight
    found = through_matrices("Gemm", x, stored, attributes)
    torch.testing.assert_close(found, output_matrix("Gemm", wanted, attributes))


def test_matmul_with_leading_axes() -> None:
    x, weight = torch.randn(3, 4, 5), torch.randn(5, 7)
    found = through_matrices("MatMul", x, weight, {})
    torch.testing.assert_close(found, output_matrix("MatMul", x @ weight, {}))
