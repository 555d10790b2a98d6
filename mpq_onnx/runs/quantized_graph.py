"""The QDQ graph of an allocation; what allocate and apply have in common. No torch here."""

import onnx_ir as ir

from mpq_onnx.arithmetic.quantized_network import QuantizedNetwork
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.graph.model_file import clone
from mpq_onnx.passes.describe_precision import DescribePrecisionPass
from mpq_onnx.passes.fence_resizes import FenceResizesPass
from mpq_onnx.passes.for_integer_kernels import for_integer_kernels
from mpq_onnx.passes.insert_qdq import InsertQdqPass
from mpq_onnx.registries import STORAGES


def write_graph(model: ir.Model, allocation: Allocation, network: QuantizedNetwork, storage: str) -> ir.Model:
    """The QDQ graph of a canonical float model, with its allocation in the metadata."""
    graph = clone(model)
    InsertQdqPass(network, STORAGES[storage])(graph)
    FenceResizesPass()(graph)
    if allocation.settings.integer_kernels:
        for_integer_kernels(graph)
    allocation.embed(graph.metadata_props)
    DescribePrecisionPass(allocation)(graph)
    return graph
