"""What devices count: bytes, bit operations, memory of activations. A resource is one file here and one line in registries.

A resource is a function of ResourceFacts to sums of Terms (see terms): what every tensor or multiply-accumulate adds at its
widths. Solvers, documents and reports all add up the same terms.
"""
