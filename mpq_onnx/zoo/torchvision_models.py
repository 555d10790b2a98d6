"""torchvision:NAME - any classifier of torchvision.models: pretrained, with a state dict file, or with random weights."""

import torch
import torchvision

from mpq_onnx.errors import ModelError
from mpq_onnx.zoo.image_classifier import export_classifier
from mpq_onnx.zoo.source import SourceModel, SourceOptions
from mpq_onnx.zoo.torch_module import download


def names() -> list[str]:
    """Every classifier."""
    return torchvision.models.list_models(module=torchvision.models)


def open_source(name: str, options: SourceOptions) -> SourceModel:
    """Build the model, load or draw its weights, export it at the resolution it was designed for."""
    where = f"torchvision:{name}"
    if name not in names():
        raise ModelError(f"{where}: torchvision has no classifier of this name; see `mpq-onnx models`")
    weights = torchvision.models.get_model_weights(name).DEFAULT
    torch.manual_seed(options.seed)
    if options.pretrained:
        module = download(lambda: torchvision.models.get_model(name, weights=weights), where)
    else:
        module = torchvision.models.get_model(name, weights=None)
    if hasattr(module, "transform_input"):
        # GoogLeNet and Inception undo the usual normalization inside, as torchvision's own weights expect.
        module.transform_input = True
    transform = weights.transforms()
    size = transform.crop_size[0]
    mean, std = (",".join(str(value) for value in values) for values in (transform.mean, transform.std))
    preprocessing = f"resize={transform.resize_size[0]}&crop={size}&mean={mean}&std={std}"
    if transform.interpolation.value != "bilinear":
        preprocessing += f"&interpolation={transform.interpolation.value}"
    return export_classifier(module, (size, size), preprocessing, options, where)
