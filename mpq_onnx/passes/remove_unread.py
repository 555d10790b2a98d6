"""Take out initializers that nobody reads any more, those that only a branch read which folding dropped among them."""

import onnx_ir as ir


class RemoveUnreadPass(ir.passes.InPlacePass):
    """Nodes that are in no graph of the model let go of their inputs; initializers without a reader go."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        graphs: list[ir.Graph | ir.Function] = [*model.graphs(), *model.functions.values()]
        living = {id(node) for graph in graphs for node in graph}
        values = [value for graph in model.graphs() for value in graph.initializers.values()]
        values += [value for graph in graphs for node in graph for value in node.outputs]
        dropped = [
            (use.node, use.idx) for value in values for use in value.uses() if id(use.node) not in living
        ]
        for node, index in dropped:
            node.replace_input_with(index, None)
        unread = [
            (graph, name)
            for graph in model.graphs()
            for name, value in graph.initializers.items()
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input()
        ]
        for graph, name in unread:
            del graph.initializers[name]
        return ir.passes.PassResult(model, modified=bool(dropped or unread))
