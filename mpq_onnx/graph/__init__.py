"""What a model is: facts of its graph, derived once and read by every stage. No torch and no onnxruntime here."""
