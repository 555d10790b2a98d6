"""convert: from noise to bits, the digital allocation whose activations have the noise-equivalent bits of a noisy file."""

import dataclasses
import math
import os

from mpq_onnx.arithmetic.quantization import MAXIMUM_BITS
from mpq_onnx.datasets import DataSource, data_source, open_dataset
from mpq_onnx.documents.allocation import Allocation, Settings, make_allocation
from mpq_onnx.documents.precision_document import NOISE_TO_BITS
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.fingerprint import fingerprint
from mpq_onnx.graph.given_model import ModelSource, model_source
from mpq_onnx.graph.metadata import METADATA_ENERGY
from mpq_onnx.graph.model_file import clone, load_model
from mpq_onnx.graph.model_inputs import model_inputs
from mpq_onnx.graph.placement import find_sites
from mpq_onnx.graph.placement.quantizer_ranges import output_quantizer
from mpq_onnx.graph.placement.rounded_behind import fused_end
from mpq_onnx.passes.remove_noise import RemoveNoisePass
from mpq_onnx.runs.arguments import checked_arguments
from mpq_onnx.runtime.noise_ratios import measure_ratios
from mpq_onnx.runtime.tensors import tensor_shapes

PLACEMENT, OBSERVER = "all", "mse"


@checked_arguments
def noise_to_bits(
    model: ModelSource,
    data: DataSource,
    output: str | os.PathLike[str],
    *,
    device: str = "auto",
) -> Allocation:
    """Write to `output` the allocation.json whose activations are as coarse as the noise of `model` is strong.

    A noisy file made from a quantized one keeps that file's widths everywhere but at the outputs of its noisy nodes; one made
    from a float file keeps float weights, and float activations elsewhere. `apply` writes the file from it.

    Args:
        model: a noisy ONNX file.
        data: data spec that the noise is measured on.

    Raises:
        UsageError: the file is not noisy.
        MpqOnnxError: see its other subclasses.
    """
    Allocation.check_place(output)
    model = model_source(model)
    noisy = load_model(model)
    if METADATA_ENERGY not in noisy.metadata_props:
        raise UsageError(f"{model}: has no noise to convert; give a file that allocate --noise wrote")
    dataset = open_dataset(data_source(data), model_inputs(noisy), noisy.metadata_props)
    bits = {
        node.node: min(max(node.noise_equivalent_bits, 1.0), float(MAXIMUM_BITS))
        for node in measure_ratios(noisy, dataset, device).nodes
        if math.isfinite(node.noise_equivalent_bits)
    }
    base = clone(noisy)
    RemoveNoisePass()(base)
    embedded = Allocation.embedded(base.metadata_props, str(model))
    by_tensor = {}
    for node in base.graph:
        if node.name in bits:
            quantizer = output_quantizer(node.outputs[0])
            final = fused_end(node) or node
            tensor = quantizer.tensor if quantizer is not None else str(final.outputs[0].name)
            by_tensor[tensor] = bits[str(node.name)]
    if embedded is not None:
        nodes = tuple(
            dataclasses.replace(
                node, activation_bits=by_tensor.get(str(node.activation), node.activation_bits)
            )
            for node in embedded.nodes
        )
        found = dataclasses.replace(
            embedded, nodes=nodes, settings=dataclasses.replace(embedded.settings, method=NOISE_TO_BITS)
        )
    else:
        sites = find_sites(base, tensor_shapes(base, dataset, device), PLACEMENT)
        settings = Settings(
            NOISE_TO_BITS, "layer", PLACEMENT, OBSERVER, OBSERVER, "nearest", bias_correction=False, seed=0
        )
        found = make_allocation(fingerprint(base), settings, sites, {}, by_tensor, {})
    found.save(output)
    return found
