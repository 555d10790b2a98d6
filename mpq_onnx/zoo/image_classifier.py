"""What the image classifiers of all libraries have in common once they are built."""

import dataclasses

import torch

from mpq_onnx.graph.metadata import METADATA_PREPROCESSING, METADATA_TASK
from mpq_onnx.tasks import IMAGES
from mpq_onnx.zoo.source import SourceModel, SourceOptions
from mpq_onnx.zoo.torch_module import export_module, load_state, settle_batch_norms


def export_classifier(
    module: torch.nn.Module, size: tuple[int, int], preprocessing: str, options: SourceOptions, where: str
) -> SourceModel:
    """Load the user's weights, or settle random ones, and export.

    Args:
        module: takes one batch of images N,3,H,W.
        size: height and width of an image.
        preprocessing: how images become inputs, as the options of a data spec.
    """
    if options.weights is not None:
        load_state(module, options.weights)
    elif not options.pretrained:
        settle_batch_norms(module, 3, *size)
    source = export_module(module, {"x": torch.randn(2, 3, *size)}, where)
    return dataclasses.replace(
        source, metadata={METADATA_PREPROCESSING: preprocessing, METADATA_TASK: IMAGES}
    )
