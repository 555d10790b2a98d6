"""Drop what exporters note on nodes and values for debugging: stack traces, source lines, module classes; ours stays.

In a small network these notes take more bytes than quantized weights. The model's own metadata stays.
"""

import onnx_ir as ir

from mpq_onnx.graph.post_processing import METADATA_BEGINS


class StripExporterMetadataPass(ir.passes.InPlacePass):
    """Clear doc strings and metadata of all graphs and functions, their nodes and their values."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        noted = False
        graphs: list[ir.Graph | ir.Function] = [*model.graphs(), *model.functions.values()]
        for graph in graphs:
            values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
            if isinstance(graph, ir.Graph):
                values += graph.initializers.values()
            for each in (graph, *graph, *values):
                foreign = each.metadata_props.keys() - {METADATA_BEGINS}
                noted |= bool(each.doc_string or foreign)
                each.doc_string = None
                for key in foreign:
                    del each.metadata_props[key]
        return ir.passes.PassResult(model, modified=noted)
