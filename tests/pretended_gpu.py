"""A device for torch where there is no GPU: it computes on the CPU, and refuses what CUDA refuses.

Its tensors wrap tensors of the CPU and say that they lie on "meta", which every torch knows without a driver. An operator that
is given such a tensor and one of the CPU raises, unless it copies, or indexes, or that of the CPU is a single number; so does
a generator of the one with tensors of the other, and `numpy()`. Results are those of the CPU, to the last bit.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

PRETENDED = torch.device("meta")
COPIES = frozenset({"aten::_to_copy", "aten::copy_"})
INDEXING = frozenset({"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"})
"""Indices may lie on the CPU."""


class OnGpu(Tensor):
    """A tensor of the pretended device; `held` is on the CPU."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> "OnGpu":
        found = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=PRETENDED,
        )
        found.held = held
        return found

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(function, args, kwargs or {})


class DeviceGenerator(torch.Generator):
    """A generator that remembers which device it was asked for."""

    pretended: torch.device

    def __new__(cls, device: Any = "cpu") -> "DeviceGenerator":
        found = super().__new__(cls, "cpu")
        found.pretended = torch.device(device)
        return found

    def __init__(self, device: Any = "cpu") -> None:
        """Nothing is left to do."""

    def manual_seed(self, seed: int) -> "DeviceGenerator":
        super().manual_seed(seed)
        return self


def computed(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operator of torch gives, on the device that it would be on.

    Raises:
        RuntimeError: tensors of both devices meet.
    """
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
    ours = [each for each in tensors if isinstance(each, OnGpu)]
    name = function._schema.name
    others = [tuple(each.shape) for each in tensors if not isinstance(each, OnGpu) and each.dim() > 0]
    if ours and others and name not in COPIES | INDEXING:
        raise RuntimeError(f"{name}: {others} on the CPU, {[tuple(each.shape) for each in ours]} on the GPU")
    given = {id(each.held): each for each in ours}
    asked = kwargs.get("device")
    own_args, own_kwargs = tree_map(
        lambda each: each.held if isinstance(each, OnGpu) else each, (args, kwargs)
    )
    if asked is not None:
        own_kwargs["device"] = "cpu"
    found = function(*own_args, **own_kwargs)
    if name == "aten::copy_":
        return args[0]
    here = bool(ours) if asked is None else torch.device(asked) == PRETENDED

    def placed(each: Any) -> Any:
        if not isinstance(each, Tensor) or (asked is None and id(each) in given):
            return given.get(id(each), each)  # changed in place
        own = each.clone() if name == "aten::_to_copy" else each  # what moves is copied
        return OnGpu(own) if here else own

    return tree_map(placed, found)


class _Operators(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(function, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """What never reaches the operators."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        everything = tree_flatten((args, kwargs))[0]
        on_gpu = any(isinstance(each, OnGpu) for each in everything)
        device = torch.device(kwargs.get("device") or (PRETENDED if on_gpu else "cpu"))
        for each in everything:
            if isinstance(each, torch.Generator) and getattr(each, "pretended", device) != device:
                raise RuntimeError(f"{function}: a generator of {each.pretended} for {device}")
        if on_gpu and function is Tensor.numpy:
            raise TypeError("can't convert a tensor of the GPU to numpy")
        if on_gpu and function is Tensor.tolist:
            return args[0].detach().held.tolist()
        return function(*args, **kwargs)


def _made_then_moved(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def made(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        found = make(*args, **kwargs)
        return found if device is None else found.to(device)

    return made


@contextlib.contextmanager
def pretended_gpu() -> Iterator[None]:
    """Inside, PRETENDED is a device that computes."""
    with contextlib.ExitStack() as stack:
        for name in ("tensor", "as_tensor"):
            stack.enter_context(mock.patch.object(torch, name, _made_then_moved(getattr(torch, name))))
        stack.enter_context(mock.patch.object(torch, "Generator", DeviceGenerator))
        # Fused Adam takes no meta tensors by itself.
        stack.enter_context(
            mock.patch(
                "torch.optim.optimizer._get_fused_kernels_supported_devices", lambda: ["cpu", PRETENDED.type]
            )
        )
        stack.enter_context(_Functions())
        stack.enter_context(_Operators())
        yield
