"""torchvision:NAME - any classifier of torchvision.models, with a state dict file or random weights."""

import dataclasses

import torch
import torchvision

from mpq_onnx.errors import ModelError
from mpq_onnx.zoo.source import SourceModel, SourceOptions
from mpq_onnx.zoo.torch_module import export_module, load_state


def open_source(name: str, options: SourceOptions) -> SourceModel:
    """Build the model, load or draw its weights, export it at the resolution it was designed for."""
    try:
        weights = torchvision.models.get_model_weights(name).DEFAULT
    except ValueError as error:
        raise ModelError(f"torchvision:{name}: {error}") from error
    torch.manual_seed(options.seed)
    module = torchvision.models.get_model(name, weights=None)
    if options.weights is not None:
        load_state(module, options.weights)
    transform = weights.transforms()
    size = transform.crop_size[0]
    source = export_module(module, [torch.randn(2, 3, size, size)], f"torchvision:{name}")
    mean, std = (",".join(str(value) for value in values) for values in (transform.mean, transform.std))
    return dataclasses.replace(
        source, preprocessing=f"resize={transform.resize_size[0]}&crop={size}&mean={mean}&std={std}"
    )
