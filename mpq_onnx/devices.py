"""Where networks are computed."""

DEVICES = ("auto", "cpu", "cuda")
