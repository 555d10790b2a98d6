"""Discrete Fourier transforms; complex numbers are pairs along the last axis, real ones stand alone there."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def dft(
    x: Tensor,
    dft_length: Tensor | None = None,
    axis: Tensor | None = None,
    *,
    inverse: int = 0,
    onesided: int = 0,
) -> Tensor:
    along = -2 if axis is None else int(axis)
    along %= x.dim()
    halves = inverse and onesided
    length = 2 * (x.shape[along] - 1) if halves else x.shape[along]
    if dft_length is not None:
        length = int(dft_length)
    if halves:
        return torch.fft.irfft(_complex(x), length, along).unsqueeze(-1)
    found = (torch.fft.ifft if inverse else torch.fft.fft)(_complex(x), length, along)
    if onesided:
        found = found.narrow(along, 0, length // 2 + 1)
    return torch.view_as_real(found.resolve_conj())


def stft(
    signal: Tensor,
    frame_step: Tensor,
    window: Tensor | None = None,
    frame_length: Tensor | None = None,
    *,
    onesided: int = 1,
) -> Tensor:
    """[n, length, 1 or 2] -> [n, frames, bins, 2]; a window that is shorter than a frame does not occur."""
    if frame_length is not None:
        length = int(frame_length)
    else:
        assert window is not None
        length = len(window)
    samples = _complex(signal) if signal.dim() > 2 else signal
    frames = samples.unfold(1, length, int(frame_step))
    if window is not None:
        frames = frames * F.pad(window, (0, length - len(window)))
    found = torch.fft.fft(frames, dim=-1)
    if onesided:
        found = found[..., : length // 2 + 1]
    return torch.view_as_real(found.resolve_conj())


def _complex(x: Tensor) -> Tensor:
    return x[..., 0] if x.shape[-1] == 1 else torch.view_as_complex(x.contiguous())


OPS: dict[str, Callable[..., Any]] = {"DFT": dft, "STFT": stft}
