"""Sony's Model Compression Toolkit: mixed precision of 2, 4 and 8 bits a weight under a budget of weight memory (its own device
description of IMX500), activations of 8 bits, on ResNet-20 in PyTorch."""

from collections.abc import Iterator

import model_compression_toolkit as mct
import numpy as np
import torch
from piece_of_work import Forward, PieceOfWork, carry_out
from resnet20_module import with_weights_of


def quantize(work: PieceOfWork) -> Forward:
    network = with_weights_of(work.model)
    weights = sum(each.numel() for each in network.parameters() if each.dim() > 1)
    batches = [torch.from_numpy(batch) for batch in work.batches]

    def examples() -> Iterator[list[torch.Tensor]]:
        yield from ([batch] for batch in batches)

    core = mct.core.CoreConfig(
        mixed_precision_config=mct.core.MixedPrecisionQuantizationConfig(num_of_images=32)
    )
    quantized, _ = mct.ptq.pytorch_post_training_quantization(
        network,
        examples,
        target_resource_utilization=mct.core.ResourceUtilization(
            weights_memory=weights * work.weight_bits / 8
        ),
        core_config=core,
    )

    def forward(batch: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return quantized(torch.from_numpy(batch)).cpu().numpy()

    return forward


if __name__ == "__main__":
    carry_out(quantize)
