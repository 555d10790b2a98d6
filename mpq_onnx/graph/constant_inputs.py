"""Constants that a file lists among its inputs too, as the third version of the file format asked for.

Such an input is one that nobody feeds. Everybody else takes a model's inputs for what is fed.
"""

import onnx_ir as ir

FIRST_WITHOUT = 4
"""The version of ONNX's file format from which a constant need not be an input."""


def drop_constant_inputs(model: ir.Model) -> None:
    """Leave them constants alone."""
    for graph in model.graphs():
        fed = [value for value in graph.inputs if value.name not in graph.initializers]
        if len(fed) < len(graph.inputs):
            graph.inputs[:] = fed
            model.ir_version = max(model.ir_version or 0, FIRST_WITHOUT)
