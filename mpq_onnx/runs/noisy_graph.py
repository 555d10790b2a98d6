"""The noisy graph of energies, and what it is made from; what allocate and apply have in common. No torch here."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from mpq_onnx.datasets import Dataset
from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.errors import ModelError, UsageError
from mpq_onnx.graph.given_model import ModelSource, model_source
from mpq_onnx.graph.metadata import METADATA_ALLOCATION, METADATA_ENERGY
from mpq_onnx.graph.model_file import clone, load_model
from mpq_onnx.graph.operators import RECURRENT_OPS
from mpq_onnx.graph.placement.mac_sites import MacSite, check_ranges, mac_sites
from mpq_onnx.graph.quantized_already import check_no_integer_operators
from mpq_onnx.graph.uncounted import uncounted_macs
from mpq_onnx.ops.storage.bit_stream import DOMAIN as PACKED_DOMAIN
from mpq_onnx.passes.canonicalize import canonicalize
from mpq_onnx.passes.describe_precision import DescribePrecisionPass
from mpq_onnx.passes.insert_noise import InsertNoisePass, NodeNoise
from mpq_onnx.progress import begin
from mpq_onnx.registries import COMPAT_GARG2021
from mpq_onnx.runs.energy_options import EnergyOptions
from mpq_onnx.runs.preparation import FloatModel
from mpq_onnx.runs.source_notes import post_processing_notes
from mpq_onnx.runtime.tensors import tensor_shapes


def load_noise_free(path: ModelSource) -> FloatModel:
    """A float model in canonical form, or a quantized one as it stands.

    Raises:
        UsageError: noisy already, or packed weights, which the mirror cannot read.
        ModelError: operators that hold integers themselves.
    """
    path = model_source(path)
    begin(f"read {path}")
    model = load_model(path)
    if METADATA_ENERGY in model.metadata_props:
        raise UsageError(f"{path}: is noisy already; give the model that it was made from")
    if any(domain == PACKED_DOMAIN for domain, *_ in model.functions):
        raise UsageError(f"{path}: has packed weights; allocate it with --storage int8 for noise")
    check_no_integer_operators(model, str(path))
    if METADATA_ALLOCATION not in model.metadata_props:
        model = canonicalize(clone(model), str(path))
    return FloatModel(str(path), model, post_processing_notes(model))


def find_mac_sites(base: FloatModel, dataset: Dataset, options: EnergyOptions) -> tuple[MacSite, ...]:
    """The multiply-accumulate nodes, all of which have what the noise models need.

    Raises:
        ModelError: no such node, or one without the range of a quantizer that is needed.
    """
    return sites_of(base.model, tensor_shapes(base.model, dataset, options.device), base.path, options)


def sites_of(
    model: ir.Model, shapes: dict[str, tuple[int, ...]], where: str, options: EnergyOptions
) -> tuple[MacSite, ...]:
    """See find_mac_sites."""
    allocation = Allocation.embedded(model.metadata_props, where)
    levels = allocation.weight_levels() if allocation is not None else {}
    sites = simulated_sites(model, shapes, where, options, levels)
    for site in sites:
        check_ranges(site, options.noises, model)
    return sites


def simulated_sites(
    model: ir.Model,
    shapes: Mapping[str, tuple[int, ...]],
    where: str,
    options: EnergyOptions,
    levels: Mapping[str, np.ndarray],
) -> tuple[MacSite, ...]:
    """The multiply-accumulate nodes, whatever ranges they have.

    Args:
        shapes: the shape of every tensor for one example.
        levels: see mac_sites.

    Raises:
        ModelError: no such node, or one inside a recurrent layer.
    """
    found = mac_sites(model, shapes, levels, options.compat == COMPAT_GARG2021)
    sites = tuple(site for site in found if site.macs)  # others multiply tensors without elements
    if not sites:
        hidden = ", ".join(map(str, uncounted_macs(model)))
        raise ModelError(
            f"{where}: no Conv, ConvTranspose, Gemm, MatMul or Einsum to add noise to"
            + (f"; out of reach: {hidden}" if hidden else "")
        )
    recurrent = dict.fromkeys(
        f"{site.node} ({site.op_type})" for site in sites if site.op_type in RECURRENT_OPS
    )
    if recurrent:
        raise ModelError(
            f"{where}: noise inside recurrent layers is not simulated: {', '.join(recurrent)}; allocate widths alone, or"
            " export the network with its layers unrolled"
        )
    return sites


def write_noisy_graph(model: ir.Model, sites: tuple[MacSite, ...], allocation: EnergyAllocation) -> ir.Model:
    """`model` with the noise of an energy allocation, which is kept in the metadata."""
    graph = clone(model)
    energies = allocation.energies()
    nodes = {site.node: NodeNoise(site, energies[site.node]) for site in sites}
    settings = allocation.settings
    InsertNoisePass(nodes, settings.noise, settings.seed, settings.noise_draws)(graph)
    allocation.embed(graph.metadata_props)
    DescribePrecisionPass(allocation)(graph)
    return graph
