"""Physical noise at the multiply-accumulate; a noise model is one file and one line in NOISE_MODELS.

Every formula is written with + - * / alone, so that floats, numpy arrays, torch tensors and the values of an ONNX graph under
construction all go through the same lines. No torch, no onnxruntime and no onnxscript here.
"""

from mpq_onnx.noise.model import Mac, NoiseModel
from mpq_onnx.noise.shot import SHOT
from mpq_onnx.noise.thermal import THERMAL
from mpq_onnx.noise.weight import WEIGHT

NOISE_MODELS: dict[str, NoiseModel] = {model.name: model for model in (THERMAL, SHOT, WEIGHT)}

__all__ = ["NOISE_MODELS", "Mac", "NoiseModel"]
