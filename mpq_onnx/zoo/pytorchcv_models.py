"""pytorchcv:NAME - any ImageNet classifier of pytorchcv: pretrained, with a state dict file, or with random weights."""

import math

import torch
from pytorchcv import model_provider

from mpq_onnx.errors import ModelError
from mpq_onnx.zoo.image_classifier import export_classifier
from mpq_onnx.zoo.source import SourceModel, SourceOptions
from mpq_onnx.zoo.torch_module import download

MEAN, STD = "0.485,0.456,0.406", "0.229,0.224,0.225"
RESIZE_RATIO = 0.875
"""Crop over shorter side, as pytorchcv's own ImageNet evaluation has it."""
OTHER_DATA = ("_cifar", "_svhn", "_cub", "_voc", "_coco", "_cityscapes", "_ade20k", "_lwf")


def names() -> list[str]:
    """Models for ImageNet, by name."""
    known = model_provider._models
    return sorted(name for name in known if not any(part in name for part in OTHER_DATA))


def open_source(name: str, options: SourceOptions) -> SourceModel:
    """Build the model, load or draw its weights, export it at the resolution it was designed for."""
    where = f"pytorchcv:{name}"
    if name.lower() not in model_provider._models:
        raise ModelError(f"{where}: pytorchcv has no model of this name; see `mpq-onnx models`")
    torch.manual_seed(options.seed)
    if options.pretrained:
        module = download(lambda: model_provider.get_model(name, pretrained=True), where)
    else:
        module = model_provider.get_model(name, pretrained=False)
    height, width = getattr(module, "in_size", (224, 224))
    preprocessing = f"resize={math.ceil(height / RESIZE_RATIO)}&crop={height}&mean={MEAN}&std={STD}"
    return export_classifier(module, (height, width), preprocessing, options, where)
