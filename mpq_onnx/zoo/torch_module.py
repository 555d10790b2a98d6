"""Export a torch module to ONNX with a free batch axis."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import torch

from mpq_onnx.errors import ModelError
from mpq_onnx.passes.convert_opset import CANONICAL_OPSET
from mpq_onnx.zoo.source import SourceModel


def load_state(module: torch.nn.Module, path: str | os.PathLike[str]) -> None:
    """Load a state dict file into `module`.

    Raises:
        ModelError: the file cannot be read, or its names or shapes are another model's.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state)
    except Exception as error:  # torch, pickle and zipfile raise many kinds
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: cannot be loaded as a state dict of this model: {reason}") from error


def export_module(module: torch.nn.Module, example: Sequence[torch.Tensor], where: str) -> SourceModel:
    """`module` in evaluation mode as an ONNX model.

    Args:
        example: one input tensor each, with a batch axis of at least 2.

    Raises:
        ModelError: torch cannot export it.
    """
    module = module.eval()
    batch = torch.export.Dim("batch", min=1, max=2**16)
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                tuple(example),
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
