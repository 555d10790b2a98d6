"""Turn noisy nodes back into plain ones: the inverse of InsertNoisePass, bit for bit."""

import onnx_ir as ir

from mpq_onnx.graph.descriptions import ENERGY_PER_MAC, MODEL_NOISE, take_back
from mpq_onnx.graph.metadata import METADATA_ENERGY
from mpq_onnx.graph.model_file import clone
from mpq_onnx.ops.noisy_function import DOMAIN, NOISE_ATTRIBUTES, function_name
from mpq_onnx.passes.reseed_noise import draws_of, noisy_nodes


class RemoveNoisePass(ir.passes.InPlacePass):
    """Leave no trace of noise: nodes, functions, opset import and metadata."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = noisy_nodes(model)
        for node in nodes:
            node.domain, node.op_type = "", plain_op_type(node)
            for name in NOISE_ATTRIBUTES:
                node.attributes.pop(name, None)
            take_back(node, ENERGY_PER_MAC)
        for identifier in [each for each in model.functions if each[0] == DOMAIN]:
            del model.functions[identifier]
        model.graph.opset_imports.pop(DOMAIN, None)
        model.metadata_props.pop(METADATA_ENERGY, None)
        take_back(model, MODEL_NOISE)
        return ir.passes.PassResult(model, modified=bool(nodes))


def without_noise(model: ir.Model) -> ir.Model:
    """`model` itself where it has no noisy node, else a noise-free copy."""
    if not noisy_nodes(model):
        return model
    plain = clone(model)
    RemoveNoisePass()(plain)
    return plain


def plain_op_type(noisy: ir.Node) -> str:
    """The ONNX operator that a noisy node stands for."""
    noises = noisy.attributes["noise"].as_strings()
    return noisy.op_type.removeprefix(function_name("", noises, draws_of(noisy)))


def plain_node(noisy: ir.Node, output: str) -> ir.Node:
    """A noise-free node of the same inputs and attributes; its output, and so its name, is `output`."""
    own = [each for name, each in noisy.attributes.items() if name not in NOISE_ATTRIBUTES]
    result = ir.Value(name=output, type=noisy.outputs[0].type, shape=noisy.outputs[0].shape)
    return ir.Node("", plain_op_type(noisy), noisy.inputs, own, outputs=[result], name=output)
