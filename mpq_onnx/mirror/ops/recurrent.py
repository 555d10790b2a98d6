"""Recurrent layers: LSTM, GRU and RNN, unrolled over time.

The product of weight and input is made for all times at once; the loop holds what depends on the state alone. Gates lie in
ONNX's order (LSTM: input, output, forget, cell; GRU: update, reset, hidden) along axis 1 of W and R.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Function = Callable[[Tensor], Tensor]
States = tuple[Tensor, ...]
"""The hidden state first, and whatever else a cell keeps; each [batch, hidden]."""
Cell = Callable[[Tensor, States], States]
"""(W x + bias of one time [batch, gates * hidden], states before) -> states after."""


@dataclass(frozen=True)
class Activation:
    """An activation function with the parameters that it takes."""

    function: Callable[..., Tensor]
    """Of (x), (x, alpha) or (x, alpha, beta)."""
    alpha: float | None = None
    """The default; None where the function takes none."""
    beta: float | None = None


ACTIVATIONS: dict[str, Activation] = {
    "affine": Activation(lambda x, alpha, beta: alpha * x + beta, 1.0, 0.0),
    "elu": Activation(F.elu, 1.0),
    "hardsigmoid": Activation(lambda x, alpha, beta: torch.clamp(alpha * x + beta, 0, 1), 0.2, 0.5),
    "leakyrelu": Activation(F.leaky_relu, 0.01),
    "relu": Activation(torch.relu),
    "scaledtanh": Activation(lambda x, alpha, beta: alpha * torch.tanh(beta * x), 1.0, 1.0),
    "sigmoid": Activation(torch.sigmoid),
    "softplus": Activation(F.softplus),
    "softsign": Activation(F.softsign),
    "tanh": Activation(torch.tanh),
    "thresholdedrelu": Activation(lambda x, alpha: torch.where(x > alpha, x, torch.zeros_like(x)), 1.0),
}


def lstm(
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    peepholes: Tensor | None = None,
    *,
    input_forget: int = 0,
    clip: float | None = None,
    **attributes: Any,
) -> tuple[Tensor, ...]:
    """Returns (Y, Y_h, Y_c)."""

    def cell(direction: int, functions: Sequence[Function], r: Tensor, _: Tensor) -> Cell:
        f, g, h = functions
        none = r.new_zeros(3, r.shape[1])
        p_i, p_o, p_f = none if peepholes is None else peepholes[direction].reshape(3, -1)

        def step(product: Tensor, states: States) -> States:
            hidden, memory = states
            i, o, forget, c = (product + hidden @ r.T).chunk(4, dim=1)
            i = f(_clipped(i + p_i * memory, clip))
            forget = 1 - i if input_forget else f(_clipped(forget + p_f * memory, clip))
            memory = forget * memory + i * g(_clipped(c, clip))
            return f(_clipped(o + p_o * memory, clip)) * h(memory), memory

        return step

    states = (initial_h, initial_c)
    default = ("Sigmoid", "Tanh", "Tanh")
    return _layer(x, weight, recurrence, bias, lengths, states, cell, _bias_sum, default, **attributes)


def gru(
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    linear_before_reset: int = 0,
    clip: float | None = None,
    **attributes: Any,
) -> tuple[Tensor, ...]:
    """Returns (Y, Y_h)."""

    def cell(direction: int, functions: Sequence[Function], r: Tensor, r_bias: Tensor) -> Cell:
        f, g = functions
        hidden_size = r.shape[1]
        r_gates, r_hidden = r[: 2 * hidden_size], r[2 * hidden_size :]
        r_hidden_bias = r_bias[2 * hidden_size :]

        def step(product: Tensor, states: States) -> States:
            (hidden,) = states
            gates, candidate = product.split((2 * hidden_size, hidden_size), dim=1)
            update, reset = f(_clipped(gates + hidden @ r_gates.T, clip)).chunk(2, dim=1)
            if linear_before_reset:
                candidate = candidate + reset * (hidden @ r_hidden.T + r_hidden_bias)
            else:
                candidate = candidate + (reset * hidden) @ r_hidden.T
            candidate = g(_clipped(candidate, clip))
            return ((1 - update) * candidate + update * hidden,)

        return step

    def bias_of_product(w_bias: Tensor, r_bias: Tensor) -> Tensor:
        """All of it, but the recurrent bias of the candidate where that is inside the reset gate's product."""
        if not linear_before_reset:
            return w_bias + r_bias
        inside = len(r_bias) // 3
        return w_bias + F.pad(r_bias[:-inside], (0, inside))

    default = ("Sigmoid", "Tanh")
    return _layer(
        x, weight, recurrence, bias, lengths, (initial_h,), cell, bias_of_product, default, **attributes
    )


def rnn(
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
    initial_h: Tensor | None = None,
    *,
    clip: float | None = None,
    **attributes: Any,
) -> tuple[Tensor, ...]:
    """Returns (Y, Y_h)."""

    def cell(direction: int, functions: Sequence[Function], r: Tensor, _: Tensor) -> Cell:
        (f,) = functions
        return lambda product, states: (f(_clipped(product + states[0] @ r.T, clip)),)

    return _layer(
        x, weight, recurrence, bias, lengths, (initial_h,), cell, _bias_sum, ("Tanh",), **attributes
    )


def _layer(
    x: Tensor,
    weight: Tensor,
    recurrence: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    initial: tuple[Tensor | None, ...],
    cell: Callable[[int, Sequence[Function], Tensor, Tensor], Cell],
    bias_of_product: Callable[[Tensor, Tensor], Tensor],
    default_activations: tuple[str, ...],
    *,
    direction: str = "forward",
    hidden_size: int | None = None,
    activations: Sequence[str] | None = None,
    activation_alpha: Sequence[float] = (),
    activation_beta: Sequence[float] = (),
    layout: int = 0,
) -> tuple[Tensor, ...]:
    """All directions of one layer: (Y [time, directions, batch, hidden], last states [directions, batch, hidden])."""
    if layout:
        x = x.transpose(0, 1)
        initial = tuple(None if each is None else each.transpose(0, 1) for each in initial)
    time, batch, _ = x.shape
    count, hidden = recurrence.shape[0], recurrence.shape[2]
    valid = None
    if lengths is not None:
        valid = (torch.arange(time, device=x.device)[:, None] < lengths)[:, :, None]
    functions = _functions(activations or default_activations * count, activation_alpha, activation_beta)
    results = []
    for index in range(count):
        gates = recurrence.shape[1]
        both = x.new_zeros(2 * gates) if bias is None else bias[index]
        w_bias, r_bias = both.split(gates)
        product = F.linear(x, weight[index], bias_of_product(w_bias, r_bias))
        own = [next(functions) for _ in default_activations]
        step = cell(index, own, recurrence[index], r_bias)
        states = tuple(x.new_zeros(batch, hidden) if each is None else each[index] for each in initial)
        results.append(_unroll(product, step, states, valid, direction == "reverse" or index == 1))
    y = torch.stack([each for each, _ in results], dim=1)
    last = [torch.stack(each) for each in zip(*(states for _, states in results), strict=True)]
    if layout:
        return y.permute(2, 0, 1, 3), *(each.transpose(0, 1) for each in last)
    return y, *last


def _unroll(
    product: Tensor, step: Cell, states: States, valid: Tensor | None, backwards: bool
) -> tuple[Tensor, States]:
    """(the hidden state after every time [time, batch, hidden], the states after the last).

    Args:
        product: W x + bias, [time, batch, gates * hidden].
        valid: bool [time, batch, 1]; where False, the states stay and the output is 0. None where all times count.
    """
    times = range(len(product))
    outputs = []
    for time in reversed(times) if backwards else times:
        after = step(product[time], states)
        if valid is None:
            states = after
            outputs.append(states[0])
        else:
            states = tuple(torch.where(valid[time], new, old) for new, old in zip(after, states, strict=True))
            outputs.append(torch.where(valid[time], after[0], torch.zeros_like(after[0])))
    return torch.stack(outputs[::-1] if backwards else outputs), states


def _functions(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> Iterator[Function]:
    """The activation functions of all directions; alphas and betas go, in order, to those that take one."""
    given = {"alpha": iter(alphas), "beta": iter(betas)}
    for name in names:
        if name.lower() not in ACTIVATIONS:
            raise NotImplementedError(f"activation {name} of a recurrent layer")
        entry = ACTIVATIONS[name.lower()]
        parameters = [
            next(given[key], default)
            for key, default in (("alpha", entry.alpha), ("beta", entry.beta))
            if default is not None
        ]
        yield _bound(entry.function, parameters)


def _bound(function: Callable[..., Tensor], parameters: Sequence[float]) -> Function:
    return lambda x: function(x, *parameters)


def _bias_sum(w_bias: Tensor, r_bias: Tensor) -> Tensor:
    return w_bias + r_bias


def _clipped(x: Tensor, limit: float | None) -> Tensor:
    return x if limit is None else x.clamp(-limit, limit)


OPS: dict[str, Callable[..., Any]] = {"LSTM": lstm, "GRU": gru, "RNN": rnn}
