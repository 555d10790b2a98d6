"""How levels are chosen: a method takes a Problem and returns Candidates, and knows nothing of bits or energies.

One file a method, and one line in registries.METHODS. Every candidate keeps the budgets; the caller measures them and uniform,
and keeps the best.
"""
