"""First and last layer: the layers that most papers leave out of their means, without saying so alike.

"include" treats them as all others; "8" gives their weights, and the activations that they multiply, a fixed 8 bits outside the
budget; "float" leaves both in float.
"""

import dataclasses

from mpq_onnx.graph.placement.sites import Sites, with_sources
from mpq_onnx.registries import EIGHT_BITS, FLOAT, INCLUDE

FIRST_LAST_BITS = {EIGHT_BITS: 8, FLOAT: 0}


def fix_first_and_last(sites: Sites, choice: str) -> Sites:
    """`sites` with the first and the last layer with weights as `choice` (one of FIRST_LAST) says."""
    free = sites.free_weights
    if choice == INCLUDE or not free:
        return sites
    bits = FIRST_LAST_BITS[choice]
    own = [site for site in free if site.node in (free[0].node, free[-1].node)]  # a recurrent layer has two
    ends, read = {site.tensor for site in own}, {site.source for site in own}
    weights = tuple(
        dataclasses.replace(site, fixed_bits=bits) if site.tensor in ends else site for site in sites.weights
    )
    activations = tuple(
        dataclasses.replace(site, fixed_bits=bits) if site.tensor in read else site
        for site in sites.activations
        if bits or site.tensor not in read
    )
    if not bits:
        weights = tuple(
            with_sources(site, lambda use: None if use.source in read else use.source) for site in weights
        )
    return dataclasses.replace(sites, weights=weights, activations=activations)
