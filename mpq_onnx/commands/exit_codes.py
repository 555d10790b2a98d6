"""Exit codes beside those of errors (see errors): 0 is fine."""

GATE_FAILED = 1
INTERRUPTED = 130
