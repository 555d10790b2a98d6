"""AIMET-ONNX: BatchNorm folded, MSE ranges, AdaRound (arXiv 2004.10568) on every layer, a scale a channel."""

import aimet_onnx
import numpy as np
import onnx
from aimet_onnx.adaround.adaround_weight import Adaround
from aimet_onnx.batch_norm_fold import fold_all_batch_norms_to_weight
from aimet_onnx.common.defs import qtype
from aimet_onnx.common.quantsim_config.utils import get_path_for_per_channel_config
from piece_of_work import Forward, PieceOfWork, carry_out


def quantize(work: PieceOfWork) -> Forward:
    model = onnx.load(work.model)
    fold_all_batch_norms_to_weight(model)
    simulation = aimet_onnx.QuantizationSimModel(
        model,
        param_type=qtype.int(int(work.weight_bits)),
        activation_type=qtype.int(work.activation_bits),
        quant_scheme="tf_enhanced",
        config_file=get_path_for_per_channel_config(),
        providers=["CPUExecutionProvider"],
    )
    name = model.graph.input[0].name
    feeds = [{name: batch} for batch in work.batches]
    Adaround.apply_adaround(simulation, feeds, work.iterations)
    simulation.compute_encodings(feeds)

    def forward(batch: np.ndarray) -> np.ndarray:
        return simulation.session.run(None, {name: batch})[0]

    return forward


if __name__ == "__main__":
    carry_out(quantize)
