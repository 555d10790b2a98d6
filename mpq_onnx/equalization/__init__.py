"""Equalization: channels of inner tensors are scaled so that one range suits them all, and the network computes the same.

Dividing channel c of a tensor by s_c (in the weights and bias that make it) and multiplying the weights that read it by s_c
changes nothing as long as everything between is channelwise and homogeneous, such as a ReLU. A way to choose s is one file and
one line in registries.EQUALIZATIONS.
"""

from collections.abc import Mapping

Factors = Mapping[str, tuple[float, ...]]
"""s_c by the name of the tensor that the producer makes, or of the tensor that a product scales."""
DEPTHWISE = "depthwise"
