"""Put other nodes where a quantizer stands in a graph."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from mpq_onnx.graph.fresh_names import take_name
from mpq_onnx.graph.model_file import add_initializer, clone
from mpq_onnx.graph.placement.sites import Shapes
from mpq_onnx.graph.quantizer_chains import ActivationChain, Chains, WeightChain, quantizer_chains
from mpq_onnx.handoff_targets.bundle import Bundle
from mpq_onnx.ops.composites import is_composite


def copied(bundle: Bundle) -> tuple[ir.Model, Chains]:
    """A copy of the model that may be changed, and its quantizers."""
    model = clone(bundle.model)
    return model, quantizer_chains(model)


def inline_composites(model: ir.Model) -> None:
    """Standard operators in place of our functions, for tools that know no functions in a file."""
    InlinePass(is_composite)(model)


def replace_chain(model: ir.Model, chain: ActivationChain | WeightChain, nodes: Sequence[ir.Node]) -> None:
    """Insert `nodes`; who read the result of `chain` reads the last one's, which takes its name."""
    old, new = chain.result, nodes[-1].outputs[0]
    take_name(model.graph, new, old, f"{old.name}_before")
    shape = chain.integers.shape if isinstance(chain, WeightChain) else old.shape
    new.type, new.shape = old.type, shape
    model.graph.insert_after(chain.dequantize, nodes)
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)


def bypass(model: ir.Model, chain: ActivationChain) -> None:
    """Let the readers of `chain` read what it quantizes; an output of the model keeps its name."""
    if chain.result.is_graph_output():
        take_name(model.graph, chain.source, chain.result, f"{chain.result.name}_before")
    ir.convenience.replace_all_uses_with(chain.result, chain.source, replace_graph_outputs=True)


def store_float(model: ir.Model, chain: WeightChain, values: np.ndarray) -> None:
    """Let the readers of a stored tensor read `values`, a float initializer of its name."""
    name = str(chain.result.name)
    new = add_initializer(model.graph, f"{name}_stored", np.ascontiguousarray(values, np.float32))
    take_name(model.graph, new, chain.result, f"{name}_before")
    ir.convenience.replace_all_uses_with(chain.result, new)


def fix_shapes(graph: ir.Graph, shapes: Shapes) -> None:
    """Put one example's shapes on every tensor: the graph then takes a batch of one alone."""
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    for value in values:
        shape = shapes.get(str(value.name))
        if shape is not None:
            value.shape = ir.Shape(shape)
            value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
