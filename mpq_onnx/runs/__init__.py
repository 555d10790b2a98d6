"""The verbs of the public API, one a file: export, calibrate, allocate, apply, evaluate, compare."""
