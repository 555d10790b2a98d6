"""Divide channels of inner tensors by factors and multiply the weights that read them: the network computes the same."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from mpq_onnx.graph.placement.sites import Shapes
from mpq_onnx.passes.channel_links import depthwise_tensors, find_links
from mpq_onnx.passes.channel_scaling import scale_link, scale_tensor


class ScaleChannelsPass(ir.passes.InPlacePass):
    """Apply equalization factors (see mpq_onnx.equalization) to a canonical float model."""

    def __init__(self, factors: Mapping[str, tuple[float, ...]], shapes: Shapes) -> None:
        super().__init__()
        self.factors = factors
        self.shapes = shapes

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        links = {link.name: link for link in find_links(model, self.shapes)}
        values = {str(value.name): value for value in depthwise_tensors(model)}
        for name, factors in self.factors.items():
            if name in values:
                scale_tensor(model.graph, values[name], np.array(factors, np.float64))
            elif name in links:
                scale_link(links[name], np.array(factors, np.float64))
        return ir.passes.PassResult(model, modified=bool(self.factors))
