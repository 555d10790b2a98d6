"""timm:NAME - any classifier of timm: pretrained, with a state dict file, or with random weights.

NAME may have a tag, resnet50.a1_in1k, which says whose weights; preprocessing is that of timm's own data configuration.
"""

import importlib
import math
from types import ModuleType
from typing import Any

import torch

from mpq_onnx.datasets.preprocessing import INTERPOLATIONS
from mpq_onnx.errors import ModelError, UsageError, one_line
from mpq_onnx.zoo.image_classifier import export_classifier
from mpq_onnx.zoo.source import SourceModel, SourceOptions
from mpq_onnx.zoo.torch_module import download

CHANNELS = 3


def names() -> list[str]:
    """Every architecture; none where timm is not installed, which is no part of this package."""
    try:
        return list(_timm().list_models())
    except UsageError:
        return []


def open_source(name: str, options: SourceOptions) -> SourceModel:
    """Build the model, load or draw its weights, export it at the resolution that its data configuration has."""
    where, timm = f"timm:{name}", _timm()
    if not timm.is_model(name.partition(".")[0]):
        raise ModelError(
            f"{where}: timm has no model of this name; see `mpq-onnx models {name.partition('_')[0]}`"
        )
    torch.manual_seed(options.seed)
    if options.pretrained:
        module = download(lambda: _built(timm, name, where, pretrained=True), where)
    else:
        module = _built(timm, name, where, pretrained=False)
    configuration = timm.data.resolve_model_data_config(module)
    channels, height, width = configuration["input_size"]
    if channels != CHANNELS:
        raise ModelError(
            f"{where}: takes images of {channels} channels; only those of {CHANNELS} are exported by name"
        )
    return export_classifier(module, (height, width), _preprocessing(configuration), options, where)


def _built(timm: ModuleType, name: str, where: str, pretrained: bool) -> torch.nn.Module:
    """With attention written out: the fused one is another way to the same graph."""
    try:
        module: torch.nn.Module = timm.create_model(name, pretrained=pretrained, exportable=True)
        return module.eval()
    except (
        RuntimeError,
        ValueError,
        TypeError,
    ) as error:  # an unknown tag, options that the model does not take
        raise ModelError(f"{where}: timm cannot build it: {one_line(error)}") from error


def _preprocessing(configuration: dict[str, Any]) -> str:
    """As the options of a data spec; timm resizes the shorter side to the crop over its share, rounded down."""
    _, height, width = configuration["input_size"]
    mean, std = (",".join(map(str, configuration[name])) for name in ("mean", "std"))
    resize = math.floor(min(height, width) / configuration["crop_pct"])
    text = f"resize={resize}&crop={height}&mean={mean}&std={std}"
    interpolation = configuration["interpolation"]
    if interpolation in INTERPOLATIONS and interpolation != "bilinear":
        text += f"&interpolation={interpolation}"
    return text


def _timm() -> ModuleType:
    """The library.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise UsageError(f"timm is not there ({one_line(error)}): pip install timm") from error
