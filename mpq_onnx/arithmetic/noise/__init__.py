"""Physical noise at the multiply-accumulate; a noise model is one file and one line in registries.NOISE_MODELS.

Every formula is written with + - * / and ** alone, so that floats, numpy arrays, torch tensors and the values of an ONNX graph
under construction (traced.py) all go through the same lines. No torch, no onnxruntime and no onnxscript here.
"""
