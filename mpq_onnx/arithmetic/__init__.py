"""Formulas that stand once, for numpy, torch and ONNX alike: quantizers, grids, biases, ranges, noise. No torch here."""
