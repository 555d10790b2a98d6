"""--max and --costs: what a device counts, read from an allocation's options and set against a model."""

import os
from collections.abc import Collection, Mapping, Sequence

import onnx_ir as ir

from mpq_onnx.arithmetic.quantization import counted_bits
from mpq_onnx.documents.node_precision import entries_of
from mpq_onnx.documents.resources.terms import ResourceFacts, Sum, tensors_of
from mpq_onnx.errors import UsageError
from mpq_onnx.graph.live_tensors import alive_together
from mpq_onnx.graph.placement import Sites, find_sites
from mpq_onnx.precision.width_budgets import WidthBudget, WidthBudgets
from mpq_onnx.registries import RESOURCES
from mpq_onnx.runs.float_notes import check_quantizable, has_weights
from mpq_onnx.runs.limit_texts import check_table_given
from mpq_onnx.runs.options import AllocateOptions
from mpq_onnx.runs.target_rules import rules_for
from mpq_onnx.runtime.tensors import TensorFacts
from mpq_onnx.targets.cost_table import CostTable, check_resource, load_cost_table
from mpq_onnx.targets.table_resource import table_sums

Resources = Mapping[str, tuple[Sum, ...]]
"""By name."""


def read_costs(
    path: str | os.PathLike[str] | None, limits: Mapping[str, float], own: Collection[str] = RESOURCES
) -> CostTable | None:
    """The cost table, which has a column for every limit on what is no resource of our `own`.

    Raises:
        UsageError: it has none, or no table was given; or a column has the name of a resource.
        AllocationError: it cannot be read.
    """
    check_table_given(limits, own, path is not None)
    if path is None:
        return None
    table = load_cost_table(path)
    for name in limits.keys() - set(own):
        check_resource(table, name)
    for name in table.resources:
        if name in RESOURCES:
            raise UsageError(f"{path}: column {name} is counted without a table; give it another name")
    return table


def resources_of(model: ir.Model, sites: Sites, table: CostTable | None) -> Resources:
    """All that can be counted of a model.

    Raises:
        AllocationError: a table of another model.
    """
    activations = {site.tensor for site in sites.activations}
    facts = ResourceFacts(entries_of(sites), alive_together(model, activations))
    found = {name: sums(facts) for name, sums in RESOURCES.items()}
    if table is not None:
        found |= {column: table_sums(facts.entries, table, column) for column in table.resources}
    return found


def width_budgets(
    model: ir.Model,
    facts: TensorFacts,
    means: tuple[float | None, float | None],
    options: AllocateOptions,
    where: str,
) -> WidthBudgets:
    """What gets a width, and everything that bounds the widths.

    A limit quantizes what it is about: where no mean was given for the weights, or the activations, all of them may have the
    widest choice.

    Args:
        model: a canonical float model.
        means: budgets of weight and activation bits.
        where: names the model in errors.

    Raises:
        ModelError: nothing that was asked for can be quantized.
        AllocationError, UsageError: the cost table is none of this model, or lacks what a limit is on.
    """
    most = options.limits
    # What a limit is about is known of the sites alone; those of a target depend on what stays in float.
    sites = _sites(model, facts, options, [mean is not None or bool(most) for mean in means])
    resources = resources_of(model, sites, read_costs(options.costs, most))
    limited = {name for limit in most for name in tensors_of(resources[limit])}
    weights, activations = (
        max(map(counted_bits, choices))
        if mean is None and any(site.tensor in limited and site.fixed_bits != 0 for site in own)
        else mean
        for mean, choices, own in (
            (means[0], options.bit_choices, sites.weights),
            (means[1], options.activation_choices, sites.activations),
        )
    )
    if most and options.target is not None:
        sites = _sites(model, facts, options, [weights is not None, activations is not None])
    if weights is None and activations is None:
        raise UsageError(
            f"--max {', '.join(most)}: bounds nothing here that gets a width; give --weight-bits or --activation-bits"
        )
    check_quantizable(sites, weights, activations, where)
    budget = WidthBudget(
        weights if has_weights(sites) else None,
        activations,
        tuple(options.bit_choices),
        tuple(options.activation_choices),
        options.granularity,
        options.activation_budget,
    )
    limited_by = "these overrides" if options.target is None else "this target and what is given beside it"
    rules = rules_for(model, options, weights is not None, activations is not None)
    named = zip(("weight_bits", "activation_bits"), means, strict=True)
    asked = {name: float(mean) for name, mean in named if mean is not None}
    return WidthBudgets(sites, budget, resources, most, asked, rules.pair_rules(sites), limited_by)


def _sites(model: ir.Model, facts: TensorFacts, options: AllocateOptions, quantizes: Sequence[bool]) -> Sites:
    """The sites of the model as the options and their target say.

    Args:
        quantizes: whether weights, and activations, get widths.
    """
    return find_sites(
        model,
        facts.shapes,
        options.placement,
        options.embedding_bits,
        options.first_last,
        facts.layouts,
        options.overrides,
        rules_for(model, options, *quantizes).restriction,
    )
