"""A mirror with quantizers: learnable bit widths while training, plain ones afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.copying import copy_mirror
from mpq_onnx.quantization import fake_quantize
from mpq_onnx.quantized_network import ActivationQuantizer, QuantizedNetwork

HALF_STEP = 0.5001


class LearnedWidth(torch.autograd.Function):
    """Fake-quantize with straight-through gradients for the value and for log2 of the width.

    Inside the range dy/dx = 1, outside 0. The range does not depend on the width b, so the scale R / (2^b - 1) alone
    carries its gradient: d ln(scale) / d log2(b) = -b ln2^2 2^b / (2^b - 1), and dy / d ln(scale) = y - x inside the range
    (the quantization error that straight-through leaves), 0 outside (arXiv 2102.06366, section on learned precision).
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        log2_bits: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        levels: Tensor,
    ) -> Tensor:
        y = fake_quantize(x, scale, zero_point, levels)
        ctx.save_for_backward(x, y, log2_bits, scale)
        return y

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, y, log2_bits, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        error = y - x
        # Inside the range rounding moves a value by half a step at most (and a little, in float arithmetic).
        passed = gradient * (error.abs() <= scale * HALF_STEP)
        bits = torch.exp2(log2_bits)
        slope = -bits * np.log(2) ** 2 * torch.exp2(bits) / (torch.exp2(bits) - 1).clamp(min=1)
        if log2_bits.dim() == 0:
            width_gradient = torch.dot(error.reshape(-1), passed.reshape(-1)) * slope
        else:
            width_gradient = (error * passed).sum_to_size(log2_bits.shape) * slope
        return (passed if ctx.needs_input_grad[0] else None), width_gradient, None, None, None  # type: ignore[attr-defined]


class StraightThrough(torch.autograd.Function):
    """Fake-quantize; backward, dy/dx = 1 inside the range and 0 outside."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        levels: int,
    ) -> Tensor:
        y = fake_quantize(x, scale, zero_point, levels)
        ctx.save_for_backward((y - x).abs() <= scale * HALF_STEP)
        return y

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradients[0] * inside, None, None, None


@dataclass(frozen=True)
class WidthTable:
    """Quantizer parameters of one tensor for every width that may be chosen."""

    widths: Tensor
    """float32 [choices], ascending."""
    scale: Tensor
    """float32 [choices, ...], broadcasting over the tensor after the first axis."""
    zero_point: Tensor
    levels: Tensor


class LearnedQuantizer(nn.Module):
    """A quantizer whose width is exp2 of a parameter; the forward pass uses the nearest allowed width."""

    widths: Tensor
    scale: Tensor
    zero_point: Tensor
    levels: Tensor

    def __init__(self, table: WidthTable, bits: Tensor) -> None:
        """Args: bits: starting widths, shaped to broadcast over the tensor (a scalar for per-tensor)."""
        super().__init__()
        self.log2_bits = nn.Parameter(torch.log2(bits.clamp(min=float(table.widths[0].clamp(min=0.5)))))
        self.register_buffer("widths", table.widths)
        self.register_buffer("scale", table.scale)
        self.register_buffer("zero_point", table.zero_point)
        self.register_buffer("levels", table.levels)

    @property
    def bits(self) -> Tensor:
        """The real-valued widths that are being learned."""
        return torch.exp2(self.log2_bits)

    def choice(self) -> Tensor:
        """Index of the allowed width nearest to each learned one."""
        return (self.bits.detach().unsqueeze(-1) - self.widths).abs().argmin(-1)

    def forward(self, x: Tensor) -> Tensor:
        choice = self.choice()
        if choice.dim() == 0:
            chosen = [t[choice] for t in (self.scale, self.zero_point, self.levels)]
        else:
            # Tables are [choices, *shape of the widths or of the channels].
            index = choice.expand(self.scale.shape[1:]).unsqueeze(0)
            chosen = [
                t.expand_as(self.scale).gather(0, index)[0]
                for t in (self.scale, self.zero_point, self.levels)
            ]
        return LearnedWidth.apply(x, self.log2_bits, *chosen)  # type: ignore[no-any-return]

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep the learned widths between the smallest and the largest allowed one."""
        low = self.widths[0].clamp(min=0.5)
        self.log2_bits.clamp_(torch.log2(low), torch.log2(self.widths[-1]))


class FixedQuantizer(nn.Module):
    """A quantizer of one width, per tensor."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, scale: np.float32, zero_point: np.float32, levels: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.register_buffer("zero_point", torch.tensor(zero_point, dtype=torch.float32))
        self.levels = levels

    def forward(self, x: Tensor) -> Tensor:
        if not x.requires_grad:
            return fake_quantize(x, self.scale, self.zero_point, self.levels)
        return StraightThrough.apply(x, self.scale, self.zero_point, self.levels)  # type: ignore[no-any-return]


def with_quantizers(
    mirror: Mirror,
    activations: Mapping[str, nn.Module],
    weights: Mapping[str, nn.Module] | None = None,
) -> Mirror:
    """A copy of `mirror` in which every named tensor goes through its quantizer before anyone reads it.

    Weights and other constants are shared with `mirror`; quantizer modules are named `quantizer_<fx node>`.
    """
    changed = copy_mirror(mirror, "QuantizedMirror")
    module, values = changed.module, changed.values
    for tensor, quantizer in {**activations, **(weights or {})}.items():
        node = values[tensor]
        name = f"quantizer_{node.name}"
        module.add_submodule(name, quantizer)
        with module.graph.inserting_after(node):
            quantized = module.graph.call_module(name, (node,))
        quantized.meta["quantizer_of"] = tensor
        node.replace_all_uses_with(quantized)
        quantized.args = (node,)
    module.recompile()
    module.eval()
    return changed


def activation_quantizers(quantizers: Mapping[str, ActivationQuantizer]) -> dict[str, nn.Module]:
    """A FixedQuantizer for every tensor."""
    return {
        tensor: FixedQuantizer(each.scale, each.zero_point, each.levels)
        for tensor, each in quantizers.items()
    }


def quantized_mirror(mirror: Mirror, network: QuantizedNetwork) -> Mirror:
    """The mirror of the final graph: `mirror` with the numbers of `network`."""
    changed = with_quantizers(mirror, activation_quantizers(network.activations))
    graph = changed.module.graph
    device = next(changed.module.parameters()).device
    for tensor, weight in network.weights.items():
        constant = changed.values[tensor]
        _set_parameter(changed.module, str(constant.target), weight.dequantized(), device)
        bias = network.float_biases.get(tensor)
        if tensor in network.biases:
            bias = network.biases[tensor].dequantized()
        if bias is None:
            continue
        node = next(iter(constant.users))
        name = f"bias_of_{constant.name}"
        _set_parameter(changed.module, name, bias, device)
        with graph.inserting_before(node):
            node.args = (*node.args[:2], graph.get_attr(name))
    changed.module.recompile()
    return changed


def _set_parameter(module: nn.Module, name: str, array: np.ndarray, device: torch.device) -> None:
    module._parameters[name] = nn.Parameter(torch.from_numpy(array).to(device), requires_grad=False)
