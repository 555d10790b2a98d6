"""Export a torch module to ONNX with a free batch axis."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx_ir as ir
import safetensors.torch
import torch
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from mpq_onnx.errors import ModelError, one_line
from mpq_onnx.passes.convert_opset import CANONICAL_OPSET
from mpq_onnx.zoo.source import SourceModel


def load_state(module: torch.nn.Module, path: str | os.PathLike[str]) -> None:
    """Load a state dict file into `module`.

    Raises:
        ModelError: the file cannot be read, or its names or shapes are another model's.
    """
    state = read_state(path)
    try:
        module.load_state_dict(state)
    except Exception as error:  # torch raises RuntimeError, and others for what is no tensor
        raise ModelError(f"{path}: is not a state dict of this model: {one_line(error)}") from error


def read_state(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, or of a torch file: a state dict, or a checkpoint with one as `state_dict`.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        if Path(path).suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = dict(state.get("state_dict", state))
        consume_prefix_in_state_dict_if_present(state, "module.")  # left by DataParallel
    except Exception as error:  # torch, pickle, zipfile and safetensors raise many kinds
        raise ModelError(f"{path}: cannot be read as a state dict: {one_line(error)}") from error
    return state


SETTLING_BATCH = 8


@torch.no_grad()
def settle_batch_norms(module: torch.nn.Module, *shape: int) -> None:
    """Give a randomly initialized network the BatchNormalization statistics of normal inputs of `shape` (one example).

    With the initial ones, mean 0 and variance 1, signals vanish or explode within a few layers, and no precision is too low.
    """
    norms = [each for each in module.modules() if isinstance(each, torch.nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # type: ignore[assignment]  # take this batch's statistics as they are
    module.train()
    module(torch.randn(SETTLING_BATCH, *shape, generator=torch.Generator().manual_seed(0)))
    module.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


Made = TypeVar("Made")


FETCH_WEIGHTS = (
    "fetch the file on another machine and give it as --weights, or leave --pretrained out for random weights"
)


def download(make: Callable[[], Made], where: str, instead: str = FETCH_WEIGHTS) -> Made:
    """What `make` returns, which its library may have to download first.

    Args:
        instead: what the user can do when that fails.

    Raises:
        ModelError: it failed, perhaps for want of a network.
    """
    try:
        with _quiet():
            return make()
    except Exception as error:  # urllib, requests, huggingface_hub and torch raise many kinds
        raise ModelError(
            f"{where}: cannot be downloaded ({type(error).__name__}: {one_line(error)}); {instead}"
        ) from error


def export_module(module: torch.nn.Module, example: Mapping[str, torch.Tensor], where: str) -> SourceModel:
    """`module` in evaluation mode as an ONNX model.

    Args:
        example: a tensor for each argument of forward, by the name that the input gets; with a batch axis of at least 2.

    Raises:
        ModelError: torch cannot export it.
    """
    module = module.eval()
    batch = torch.export.Dim("batch", min=1, max=2**16)
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                tuple(example.values()),
                input_names=list(example),
                dynamo=True,
                opset_version=CANONICAL_OPSET,
                dynamic_shapes=tuple({0: batch} for _ in example),
                external_data=False,
                verbose=False,
                optimize=True,
            )
    except Exception as error:  # the exporter raises many kinds
        reason = str(error).strip().splitlines()
        raise ModelError(f"{where}: torch.onnx.export failed: {reason[0] if reason else error!r}") from error
    assert program is not None
    model: ir.Model = program.model
    names = [str(value.name) for value in model.graph.inputs]

    def reference(feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with torch.no_grad():
            result = module(*(torch.from_numpy(feeds[name]) for name in names))
        results = result if isinstance(result, tuple | list) else [result]
        return [tensor.numpy() for tensor in results]

    return SourceModel(model, reference)


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """The exporter reports its progress on stdout and its doubts as warnings."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
