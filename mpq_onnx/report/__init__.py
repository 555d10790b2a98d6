"""How results are shown: terminal tables, JSON, pictures. No torch and no onnxruntime here."""
