"""Every layer as a matrix product equals the layer itself, with stride, padding, dilation, groups, and examples on any axis."""

import pytest
import torch
import torch.nn.functional as F

from mpq_onnx.graph.example_layout import ExampleLayout
from mpq_onnx.mirror.einsum_form import einsum_form
from mpq_onnx.mirror.matrix_form import MatrixForm

FIRST = ExampleLayout(0)


def check(form: MatrixForm, x: torch.Tensor, weight: torch.Tensor, wanted: torch.Tensor) -> None:
    """The node's output as [n, g, o, l] is the product of its matrices, and the weight comes back from its matrix."""
    matrix = form.weight_matrix(weight)
    found = torch.einsum("gok,ngkl->ngol", matrix, form.patches(x, weight))
    torch.testing.assert_close(found, form.outputs(wanted, weight), rtol=1e-4, atol=1e-4)
    assert torch.equal(form.weight_from_matrix(matrix, weight), weight)
    check_samples(form, x, weight)


def check_samples(form: MatrixForm, x: torch.Tensor, weight: torch.Tensor) -> None:
    """Drawn patches are those of all positions at the drawn ones, the same for every input; more than there are is all."""
    both = form.sampled_patches((x, 2 * x), weight, 2, torch.Generator().manual_seed(0))
    everything = form.patches(x, weight)
    drawn = torch.randperm(everything.shape[3], generator=torch.Generator().manual_seed(0))[:2]
    assert torch.equal(both[0], everything[..., drawn]) and torch.equal(both[1], 2 * both[0])
    (whole,) = form.sampled_patches((x,), weight, everything.shape[3], torch.Generator())
    assert torch.equal(whole, everything)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 0, 1, 1), (2, 1, 1, 2), (1, 2, 2, 4), (2, 1, 2, 1)]
)
def test_convolution(stride: int, padding: int, dilation: int, groups: int, rows: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(4, 4, 11, 9), torch.randn(8, 4 // groups, 3, 2)
    attributes = {
        "strides": [stride] * 2,
        "pads": [padding] * 4,
        "dilations": [dilation] * 2,
        "group": groups,
    }
    wanted = F.conv2d(x, weight, None, stride, padding, dilation, groups)
    layout = ExampleLayout(0, rows)
    form = MatrixForm("Conv", attributes, layout, layout)
    check(form, x, weight, wanted)
    assert form.patches(x, weight).shape[0] == 4 // rows


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
    check(MatrixForm("ConvTranspose", attributes, FIRST, FIRST), x, weight, wanted)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("layout", [FIRST, ExampleLayout(0, 2), ExampleLayout(0, 3, outer=False)])
def test_gemm(transposed: int, layout: ExampleLayout) -> None:
    x, weight = torch.randn(6, 5), torch.randn(5, 7)
    stored = weight.t().contiguous() if transposed else weight
    form = MatrixForm("Gemm", {"transB": transposed, "alpha": 0.5}, layout, layout)
    check(form, x, stored, 0.5 * x @ weight)
    patches = form.patches(x, stored)
    second = x.reshape(6 // layout.rows, layout.rows, 5)[1] if layout.outer else x[1 :: 6 // layout.rows]
    torch.testing.assert_close(patches[1, 0].t(), 0.5 * second)


@pytest.mark.parametrize("axis", [0, 1])
def test_matmul_with_leading_axes(axis: int) -> None:
    x, weight = torch.randn(3, 4, 5), torch.randn(5, 7)
    form = MatrixForm("MatMul", {}, ExampleLayout(axis), ExampleLayout(axis))
    check(form, x, weight, x @ weight)
    torch.testing.assert_close(form.patches(x, weight)[2, 0].t(), x.select(axis, 2))


@pytest.mark.parametrize("shape", [(3, 2, 4, 5), (3, 6, 2, 4, 5), (3, 1, 4, 5)])
def test_matmul_with_a_stack_of_weights(shape: tuple[int, ...]) -> None:
    x, weight = torch.randn(*shape), torch.randn(2, 5, 7)
    check(MatrixForm("MatMul", {}, FIRST, FIRST), x, weight, x @ weight)


@pytest.mark.parametrize(
    ("equation", "channel_axis", "inner", "outer"),
    [
        ("nti,io->nto", 1, 0, 0), ("nti,oi->nto", 0, 0, 0), ("nit,oi->nto", 0, 0, 0), ("nti,io->ton", 1, 0, 2),
        ("tni,oi->not", 0, 1, 0), ("ntij,jio->nto", 2, 0, 0), ("ni,oi->on", 0, 0, 1),
    ],
)  # fmt: skip
def test_einsum(equation: str, channel_axis: int, inner: int, outer: int) -> None:
    torch.manual_seed(0)
    lengths = {"n": 3, "t": 4, "i": 5, "j": 2, "o": 6}
    data, weight_labels = equation.partition("->")[0].split(",")
    x, weight = (torch.randn([lengths[label] for label in labels]) for labels in (data, weight_labels))
    form = einsum_form(equation, channel_axis, ExampleLayout(inner), ExampleLayout(outer))
    assert form is not None and form.input_layout.axis == inner
    if "t" in data:  # some positions to draw from
        check(form, x, weight, torch.einsum(equation, x, weight))
    else:
        found = torch.einsum("gok,ngkl->ngol", form.weight_matrix(weight), form.patches(x, weight))
        torch.testing.assert_close(found, form.outputs(torch.einsum(equation, x, weight), weight))


@pytest.mark.parametrize(
    ("equation", "channel_axis"),
    [("nti,nio->nto", 2), ("nti,tio->nto", 2), ("nti,iok->ntok", 1), ("nti,i->nt", 0), ("...i,io->...o", 1), ("nti,io->no", 1)],
)  # fmt: skip
def test_an_einsum_that_is_no_product_of_matrices(equation: str, channel_axis: int) -> None:
    assert einsum_form(equation, channel_axis, ExampleLayout(0), ExampleLayout(0)) is None
