"""Drop what exporters note on nodes and values for debugging: stack traces, source lines, module classes.

In a small network these notes take more bytes than quantized weights. The model's own metadata stays.
"""

import onnx_ir as ir


class StripExporterMetadataPass(ir.passes.InPlacePass):
    """Clear doc strings and metadata of the graph, its nodes and its values."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graph = model.graph
        values = [*graph.inputs, *graph.initializers.values(), *(v for node in graph for v in node.outputs)]
        for each in (graph, *graph, *values):
            each.doc_string = None
            each.metadata_props.clear()
        return ir.passes.PassResult(model, modified=True)
