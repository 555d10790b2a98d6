"""Noise that grows with ranges which a file's weights do not use: said beside the energies that it costs."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.mac import macs_of
from mpq_onnx.graph.placement.mac_sites import MacSite
from mpq_onnx.graph.placement.quantizer_ranges import stored_range
from mpq_onnx.registries import NOISE_MODELS

UNUSED = 1.1
"""Times what the weights span, from which on it is said."""


def range_notes(model: ir.Model, sites: Sequence[MacSite], noises: Sequence[str]) -> tuple[str, ...]:
    """A line where the quantizers of the weights of `model` reach well beyond the weights, as those for int8 kernels do."""
    grows = [name for name in noises if NOISE_MODELS[name].needs_weight_range]
    spans = {str(mac.node.name): stored_range(mac.held) for mac in macs_of(model.graph)}
    ranges, used, macs = [], [], []
    for site in sites:
        span = spans.get(site.node)
        if site.weight_range is not None and span is not None and span.max() > 0:
            ranges.append(np.mean(site.weight_range))
            used.append(span.max() if len(site.weight_range) == 1 else span.mean())
            macs.append(site.macs)
    if not grows or not macs:
        return ()
    beyond = float(np.average(np.divide(ranges, used), weights=macs))
    if beyond < UNUSED:
        return ()
    return (
        f"the ranges of the weights' quantizers are {beyond:.2f} times what their weights span, and {', '.join(grows)} noise"
        " grows with them: quantize with weight-scheme asymmetric for the least",
    )
