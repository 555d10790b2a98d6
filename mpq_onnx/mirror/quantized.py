"""A mirror with quantizers: learnable bit widths while training, plain ones afterwards."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_onnx.arithmetic.quantization import SCHEMES, fake_quantize
from mpq_onnx.arithmetic.quantized_network import ActivationQuantizer, DynamicQuantizer, QuantizedNetwork
from mpq_onnx.graph.mac import BIAS_INPUT
from mpq_onnx.mirror.build import Mirror
from mpq_onnx.mirror.copying import copy_mirror
from mpq_onnx.mirror.width_choice import WidthChoice

HALF_STEP = 0.5001


class LearnedWidth(torch.autograd.Function):
    """Fake-quantize with straight-through gradients for the value, for log2 of the width and for log of the range.

    Inside the range dy/dx = 1, outside 0. The range does not depend on the width b, so the scale R / (2^b - 1) alone
    carries its gradient: d ln(scale) / d log2(b) = -b ln2^2 2^b / (2^b - 1), and dy / d ln(scale) = y - x inside the range
    (the quantization error that straight-through leaves), 0 outside (arXiv 2102.06366, section on learned precision).
    Where the range is learned, dy / d ln(range) = y - x inside and y, the range's end, outside (arXiv 1902.08153).
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        log2_bits: Tensor,
        log_range: Tensor | None,
        scale: Tensor,
        zero_point: Tensor,
        levels: Tensor,
    ) -> Tensor:
        if log_range is not None:
            scale = scale * log_range.exp()
        y = fake_quantize(x, scale, zero_point, levels)
        ctx.save_for_backward(x, y, log2_bits, scale)
        return y

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, y, log2_bits, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        error = y - x
        # Inside the range rounding moves a value by half a step at most (and a little, in float arithmetic).
        inside = error.abs() <= scale * HALF_STEP
        passed = gradient * inside
        bits = torch.exp2(log2_bits)
        slope = -bits * np.log(2) ** 2 * torch.exp2(bits) / (torch.exp2(bits) - 1).clamp(min=1)
        if log2_bits.dim() == 0:
            width_gradient = torch.dot(error.reshape(-1), passed.reshape(-1)) * slope
        else:
            width_gradient = (error * passed).sum_to_size(log2_bits.shape) * slope
        needs_value, _, needs_range, *_ = ctx.needs_input_grad  # type: ignore[attr-defined]
        range_gradient = (gradient * torch.where(inside, error, y)).sum() if needs_range else None
        return (passed if needs_value else None), width_gradient, range_gradient, None, None, None


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


@dataclass(frozen=True)
class LearningRules:
    """What is learned of a quantizer, and how it acts meanwhile."""

    choose: WidthChoice
    """The width of the forward pass."""
    generator: torch.Generator
    """For rules that draw."""
    learn_range: bool
    """Beside the width, a factor on the range."""


class LearnedQuantizer(nn.Module):
    """A quantizer whose width is exp2 of a parameter; the forward pass uses an allowed width."""

    widths: Tensor
    scale: Tensor
    zero_point: Tensor
    levels: Tensor

    def __init__(self, table: WidthTable, bits: Tensor, rules: LearningRules) -> None:
        """Args: bits: starting widths, shaped to broadcast over the tensor (a scalar for per-tensor)."""
        super().__init__()
        self.log2_bits = nn.Parameter(torch.log2(bits.clamp(min=float(table.widths[0].clamp(min=0.5)))))
        self.log_range = nn.Parameter(torch.zeros(())) if rules.learn_range else None
        self.rules = rules
        self.register_buffer("widths", table.widths)
        self.register_buffer("scale", table.scale)
        self.register_buffer("zero_point", table.zero_point)
        self.register_buffer("levels", table.levels)

    @property
    def bits(self) -> Tensor:
        """The real-valued widths that are being learned."""
        return torch.exp2(self.log2_bits)

    def forward(self, x: Tensor) -> Tensor:
        choice = self.rules.choose(self.bits.detach(), self.widths, self.rules.generator)
        return LearnedWidth.apply(x, self.log2_bits, self.log_range, *self.grid_of(x, choice))  # type: ignore[no-any-return]

    def grid_of(self, x: Tensor, choice: Tensor) -> list[Tensor]:
        """Scale, zero point and levels of the chosen widths (indices, in the shape of the bits)."""
        if choice.dim() == 0:
            return [t[choice] for t in (self.scale, self.zero_point, self.levels)]
        # Tables are [choices, *shape of the widths or of the channels].
        index = choice.expand(self.scale.shape[1:]).unsqueeze(0)
        return [
            t.expand_as(self.scale).gather(0, index)[0] for t in (self.scale, self.zero_point, self.levels)
        ]

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep the learned widths between the smallest and the largest allowed one."""
        low = self.widths[0].clamp(min=0.5)
        self.log2_bits.clamp_(torch.log2(low), torch.log2(self.widths[-1]))


class LearnedDynamicQuantizer(LearnedQuantizer):
    """The same with the range of each example; of the table only the widths and levels count."""

    def __init__(self, table: WidthTable, bits: Tensor, rules: LearningRules, scheme: str) -> None:
        super().__init__(table, bits, rules)
        self.scheme = scheme

    def grid_of(self, x: Tensor, choice: Tensor) -> list[Tensor]:
        levels = self.levels[choice]
        return [*dynamic_grid(x, self.scheme, levels), levels]


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

    def step(self, x: Tensor) -> Tensor:
        """The distance between two levels, the same for every `x`."""
        return self.scale


class ExampleQuantizer(nn.Module):
    """A quantizer of one width with the range of each example."""

    def __init__(self, scheme: str, levels: int) -> None:
        super().__init__()
        self.scheme = scheme
        self.levels = int(SCHEMES[scheme].usable(levels))

    def forward(self, x: Tensor) -> Tensor:
        scale, zero_point = dynamic_grid(x, self.scheme, self.levels)
        return StraightThrough.apply(x, scale, zero_point, self.levels)  # type: ignore[no-any-return]

    def step(self, x: Tensor) -> Tensor:
        """The distance between two levels for each example, shaped to broadcast over `x`."""
        return dynamic_grid(x, self.scheme, self.levels)[0]


@torch.no_grad()
def dynamic_grid(x: Tensor, scheme: str, levels: Tensor | int) -> tuple[Tensor, Tensor]:
    """Scale and zero point of every example, shaped to broadcast over `x` [examples, ...]."""
    rows = x.reshape(x.shape[0], -1)
    shape = (-1, *[1] * (x.dim() - 1))
    return SCHEMES[scheme].grid(rows.amin(1).reshape(shape), rows.amax(1).reshape(shape), levels)


def with_quantizers(
    mirror: Mirror,
    activations: Mapping[str, nn.Module],
    weights: Mapping[str, nn.Module] | None = None,
    readers: Mapping[str, Collection[str]] | None = None,
) -> Mirror:
    """A copy of `mirror` in which every named tensor goes through its quantizer before anyone reads it.

    Args:
        readers: names of the nodes that read the quantized tensor, where some others read it in float.

    Weights and other constants are shared with `mirror`; quantizer modules are named `quantizer_<fx node>`, and go to the
    device of `mirror`.
    """
    changed = copy_mirror(mirror, "QuantizedMirror")
    module, values = changed.module, changed.values
    for tensor, quantizer in {**activations, **(weights or {})}.items():
        node = values[tensor]
        name = f"quantizer_{node.name}"
        module.add_submodule(name, quantizer.to(changed.device))
        with module.graph.inserting_after(node):
            quantized = module.graph.call_module(name, (node,))
        quantized.meta["quantizer_of"] = tensor
        chosen = (readers or {}).get(tensor)
        for user in list(node.users):
            if user is not quantized and (chosen is None or user.meta.get("onnx_name") in chosen):
                user.replace_input_with(node, quantized)
    module.recompile()
    module.eval()
    return changed


def activation_quantizers(
    quantizers: Mapping[str, ActivationQuantizer | DynamicQuantizer],
) -> dict[str, nn.Module]:
    """A module for every tensor."""
    return {
        tensor: ExampleQuantizer(each.scheme, each.levels)
        if isinstance(each, DynamicQuantizer)
        else FixedQuantizer(each.scale, each.zero_point, each.levels)
        for tensor, each in quantizers.items()
    }


def quantized_mirror(mirror: Mirror, network: QuantizedNetwork) -> Mirror:
    """The mirror of the final graph: `mirror` with the numbers of `network`."""
    changed = with_quantizers(mirror, activation_quantizers(network.activations), readers=network.readers)
    graph = changed.module.graph
    device = changed.device
    for tensor, weight in network.weights.items():
        constant = changed.values[tensor]
        _keep_given_away(changed, constant)
        _set_parameter(changed.module, str(constant.target), weight.dequantized(), device)
    for tensor, array in network.constants.items():
        _set_parameter(changed.module, str(changed.values[tensor].target), array, device)
    biases = {node: bias.dequantized() for node, bias in network.biases.items()} | network.float_biases
    for node in list(graph.nodes):
        bias = biases.get(node.meta.get("onnx_name", ""))
        if bias is None:
            continue
        name = f"bias_of_{node.name}"
        _set_parameter(changed.module, name, bias, device)
        with graph.inserting_before(node):
            node.args = (*node.args[:BIAS_INPUT], graph.get_attr(name))
    changed.module.recompile()
    return changed


def _keep_given_away(mirror: Mirror, constant: fx.Node) -> None:
    """Where the model gives a constant away as an output, leave the output what it is now."""
    module = mirror.module
    for output in [user for user in constant.users if user.op == "output"]:
        name = f"given_{constant.name}"
        module._parameters[name] = module.get_parameter(str(constant.target))
        with module.graph.inserting_before(output):
            output.replace_input_with(constant, module.graph.get_attr(name))


def _set_parameter(module: nn.Module, name: str, array: np.ndarray, device: torch.device) -> None:
    module._parameters[name] = nn.Parameter(torch.from_numpy(array).to(device), requires_grad=False)
