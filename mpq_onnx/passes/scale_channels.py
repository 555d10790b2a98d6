"""Divide channels of inner tensors by factors and multiply the weights that read them: the network computes the same."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from mpq_onnx.equalization.links import find_links
from mpq_onnx.equalization.scaling import scale_link
from mpq_onnx.placement.sites import Shapes


class ScaleChannelsPass(ir.passes.InPlacePass):
    """Apply equalization factors (see mpq_onnx.equalization) to a canonical float model."""

    def __init__(self, factors: Mapping[str, tuple[float, ...]], shapes: Shapes) -> None:
        super().__init__()
        self.factors = factors
        self.shapes = shapes

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        links = [link for link in find_links(model, self.shapes) if link.name in self.factors]
        for link in links:
            scale_link(link, np.array(self.factors[link.name], np.float64))
        return ir.passes.PassResult(model, modified=bool(links))
