"""Everything that onnxruntime does: sessions, calibration, evaluation, per-node comparison. No torch here."""
