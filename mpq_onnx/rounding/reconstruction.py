"""Learning of one block: which weights are rounded up, what its biases and the steps of its quantizers are.

The error of the block's outputs is lowered by Adam (BRECQ, arXiv 2102.05426), with inputs of the quantized network of which
half of the elements, drawn anew in every step, are the float network's, and quantizers that leave half of the elements alone
(QDrop, arXiv 2203.05740). A regulariser drives every weight to floor or ceiling; in the last steps it is there, and what can
still change adapts to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mpq_onnx.rounding.block_module import BlockModule
from mpq_onnx.rounding.dropped_quantizer import DroppedQuantizer, random_bits
from mpq_onnx.rounding.soft_weight import SoftWeight

STEPS = 300
ROUNDING_RATE = 0.02
SHIFT_RATE = 0.01
"""Of biases, in units of their own mean magnitude."""
STEP_RATE = 0.003
"""Of the logarithms of the quantizers' steps."""
REGULARISER = 60.0
"""Of a weight that is half-way, in units of the error before, shared by all weights of the block."""
BETA_START, BETA_END = 20.0, 2.0
WARM_UP, HARD = 0.2, 0.85
"""Shares of the steps before the regulariser sets in, and before weights are floor or ceiling."""

Values = tuple[Tensor, ...]


@dataclass(frozen=True)
class Example:
    """One batch of a block's data."""

    exact: Values
    """The block's inputs in the float network."""
    quantized: Values
    """The same in the quantized network; the very same tensor where no quantizer comes before."""
    wanted: Values
    """The block's outputs in the float network."""


def output_errors(found: Values, wanted: Values) -> list[Tensor]:
    """Mean squared error of every output; 0 of one that holds no floats."""
    return [
        (ours - exact).square().mean() if exact.is_floating_point() else torch.zeros((), device=exact.device)
        for ours, exact in zip(found, wanted, strict=True)
    ]


def relative_error(found: Values, wanted: Values, units: Sequence[float]) -> Tensor:
    """The mean squared errors of the outputs, each in its unit, added up; outputs of unit 0 are left out."""
    errors = zip(output_errors(found, wanted), units, strict=True)
    return torch.stack([error / unit for error, unit in errors if unit > 0]).sum()


def learn(
    block: BlockModule,
    weights: Sequence[SoftWeight],
    shifts: Sequence[Tensor],
    examples: Sequence[Example],
    units: Sequence[float],
    generator: torch.Generator,
) -> list[Tensor]:
    """Train the logits of `weights` and the steps of the block's quantizers in place; returns the shifts.

    Args:
        block: takes the weights, then the shifts.
        shifts: biases, and constants that stand for one, to start from.
        units: what the error of every output counts in.
        generator: on the device of the data.
    """
    sizes = [float(each.abs().mean()) or 1.0 for each in shifts]
    changes = [nn.Parameter(torch.zeros_like(each)) for each in shifts]
    optimizer = _optimizer(block, weights, changes)
    count = sum(each.logits.numel() for each in weights)

    def shifted() -> list[Tensor]:
        return [shift + size * change for shift, size, change in zip(shifts, sizes, changes, strict=True)]

    for step, example in enumerate(_drawn(examples)):
        progress = step / STEPS
        shares = [each.share() for each in weights]
        used = [_hard(share) for share in shares] if progress >= HARD else shares
        values = [each.values(share) for each, share in zip(weights, used, strict=True)]
        found = block(_mixed(example, generator), [*values, *shifted()])
        loss = relative_error(found, example.wanted, units)
        if WARM_UP < progress < HARD:
            loss = loss + REGULARISER / count * _undecided(shares, (progress - WARM_UP) / (HARD - WARM_UP))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return shifted()


def _optimizer(
    block: BlockModule, weights: Sequence[SoftWeight], changes: Sequence[nn.Parameter]
) -> torch.optim.Optimizer:
    quantizers = [each for each in block.module.modules() if isinstance(each, DroppedQuantizer)]
    groups = (
        ([each.logits for each in weights], ROUNDING_RATE),
        (list(changes), SHIFT_RATE),
        ([each.log_factor for each in quantizers], STEP_RATE),
    )
    return torch.optim.Adam([{"params": those, "lr": rate} for those, rate in groups if those])


def _drawn(examples: Sequence[Example]) -> list[Example]:
    """STEPS of them, each as often as the others."""
    generator = torch.Generator().manual_seed(0)
    order: list[int] = []
    while len(order) < STEPS:
        order += torch.randperm(len(examples), generator=generator).tolist()
    return [examples[index] for index in order[:STEPS]]


def _hard(share: Tensor) -> Tensor:
    """Floor or ceiling."""
    return (share > 0.5).to(share)


def _undecided(shares: Sequence[Tensor], progress: float) -> Tensor:
    """The regulariser of AdaRound (equation 24), summed over all weights."""
    beta = BETA_END + (BETA_START - BETA_END) * (1 - progress)
    return torch.stack([(1 - (2 * share - 1).abs().pow(beta)).sum() for share in shares]).sum()


def _mixed(example: Example, generator: torch.Generator) -> Values:
    """Half of the elements of every input from the float network."""
    return tuple(
        torch.where(random_bits(exact, generator), exact, quantized)
        if exact is not quantized and isinstance(exact, Tensor) and exact.is_floating_point()
        else quantized
        for exact, quantized in zip(example.exact, example.quantized, strict=True)
    )
