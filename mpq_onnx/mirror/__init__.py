"""The mirror: an ONNX graph as a differentiable torch.fx.GraphModule. No onnxruntime here."""

from mpq_onnx.mirror.build import Mirror, build_mirror, frozen_mirror

__all__ = ["Mirror", "build_mirror", "frozen_mirror"]
