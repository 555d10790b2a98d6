"""Graph transformations as onnx_ir passes, one a file. No torch and no onnxruntime here."""
