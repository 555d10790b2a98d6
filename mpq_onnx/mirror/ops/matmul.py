"""Matrix products."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,  # noqa: N803 - ONNX's attribute name
    transB: int = 0,  # noqa: N803
) -> Tensor:
    left = a.t() if transA else a
    right = b.t() if transB else b
    product = left @ right
    if alpha != 1.0:
        product = alpha * product
    if c is None:
        return product
    return product + (c if beta == 1.0 else beta * c)


def einsum(*operands: Tensor, equation: str) -> Tensor:
    return torch.einsum(equation, *operands)


OPS: dict[str, Callable[..., Any]] = {
    "Gemm": gemm,
    "MatMul": torch.matmul,
    "Einsum": einsum,
    "Det": torch.linalg.det,
}
