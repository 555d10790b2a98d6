"""How finely levels are chosen."""

LAYER, CHANNEL = "layer", "channel"
GRANULARITIES = (LAYER, CHANNEL)
"""One a tensor or node, or one an output channel of it."""
