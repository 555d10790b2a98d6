"""python:package.module:factory - a function of the user's that returns the model.

The factory takes no arguments and returns an onnx.ModelProto, or a torch module and a tuple of example inputs with a batch
axis of at least 2.
"""

import inspect

import onnx
import onnx_ir as ir
import torch

from mpq_onnx.errors import ModelError, UsageError
from mpq_onnx.python_object import import_object
from mpq_onnx.runtime.session import Runner
from mpq_onnx.zoo.source import SourceModel, SourceOptions
from mpq_onnx.zoo.torch_module import export_module, load_state


def open_source(path: str, options: SourceOptions) -> SourceModel:
    """Call the factory, with torch seeded by `options`."""
    if options.pretrained:
        raise UsageError("--pretrained: the factory loads its own weights")
    torch.manual_seed(options.seed)
    made = import_object(path)()
    if isinstance(made, onnx.ModelProto):
        return SourceModel(ir.from_proto(made), Runner(made.SerializeToString(), "cpu").run)
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module):
        module, example = made
        if options.weights is not None:
            load_state(module, options.weights)
        return export_module(module, _named(module, example), f"python:{path}")
    raise ModelError(
        f"python:{path}: returned {type(made).__name__}; return an onnx.ModelProto or (torch module, example inputs)"
    )


def _named(module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
    """The example inputs by the names of forward's arguments, or numbered where they have no names of their own."""
    parameters = [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_POSITIONAL
    ]
    if len(parameters) < len(example):
        parameters = [f"input_{index}" for index in range(len(example))]
    return dict(zip(parameters, example, strict=False))
