"""Let noisy nodes draw their normals another way: the same noise, of other functions."""

import onnx_ir as ir

from mpq_onnx.ops.noisy_function import noisy_function, seed_names
from mpq_onnx.passes.remove_noise import plain_op_type
from mpq_onnx.passes.reseed_noise import draws_of, noisy_nodes


class RedrawNoisePass(ir.passes.InPlacePass):
    """Replace the functions of all noisy nodes that do not draw as `draws` (a name in NOISE_DRAWS) says.

    Seeds that the nodes lack are left out; ReseedNoisePass gives them.
    """

    def __init__(self, draws: str) -> None:
        super().__init__()
        self.draws = draws

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = [node for node in noisy_nodes(model) if draws_of(node) != self.draws]
        left = set()
        for node in changed:
            function = noisy_function(plain_op_type(node), node.attributes["noise"].as_strings(), self.draws)
            left.add(node.op_identifier())
            for name in seed_names(draws_of(node)):
                if name not in seed_names(self.draws):
                    node.attributes.pop(name, None)
            node.attributes.add(ir.AttrString("noise_draws", self.draws))
            node.op_type = function.name
            model.functions[function.identifier()] = function
        for identifier in left:
            model.functions.pop(identifier, None)
        return ir.passes.PassResult(model, modified=bool(changed))
