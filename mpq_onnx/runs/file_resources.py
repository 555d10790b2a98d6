"""What a device counts of a file that is there: from the allocations in its metadata, and a cost table. No torch here."""

from collections.abc import Mapping

import numpy as np

from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.energy_allocation import EnergyAllocation
from mpq_onnx.documents.resources.terms import ResourceFacts, spent
from mpq_onnx.errors import UsageError
from mpq_onnx.registries import RESOURCES
from mpq_onnx.targets.cost_table import CostTable
from mpq_onnx.targets.table_resource import node_widths, table_sums

NEED_THE_GRAPH = frozenset({"activation_bytes"})
"""Resources that a float graph and its sites are needed for."""


def file_resources(
    allocation: Allocation | None, energy: EnergyAllocation | None, table: CostTable | None
) -> dict[str, float]:
    """Amounts by resource; the columns of `table` among them.

    Raises:
        UsageError: a table, and a file that has neither widths nor energies of ours.
        AllocationError: a table of another model, or without rows for the file's widths or energies.
    """
    found: dict[str, float] = {}
    if allocation is not None:
        facts = ResourceFacts(allocation.nodes)
        found = {
            name: spent(sums(facts), allocation.widths())
            for name, sums in RESOURCES.items()
            if name not in NEED_THE_GRAPH
        }
    if table is None:
        return found
    if energy is not None:
        return {**found, **_priced(energy, {} if allocation is None else node_widths(allocation), table)}
    if allocation is None:
        raise UsageError("--costs: the file has neither widths nor energies of mpq-onnx to look up")
    columns = {
        column: spent(table_sums(allocation.nodes, table, column), allocation.widths())
        for column in table.resources
    }
    return {**found, **columns}


def _priced(
    energy: EnergyAllocation, widths: Mapping[str, tuple[float | None, float | None]], table: CostTable
) -> dict[str, float]:
    """Of energies per MAC; where they differ by channel, each channel takes its share."""
    return {
        column: table.fixed(column, {node.node for node in energy.nodes})
        + sum(
            float(
                np.mean(
                    [
                        table.amount(column, node.node, *widths.get(node.node, (None, None)), float(each))
                        for each in np.atleast_1d(node.energy_per_mac)
                    ]
                )
            )
            for node in energy.nodes
        )
        for column in table.resources
    }
