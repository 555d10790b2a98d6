"""--max and --costs where energies are allocated: a cost table's columns as prices of energies per MAC."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.errors import AllocationError, first_names
from mpq_onnx.graph.placement.mac_sites import MacSite
from mpq_onnx.precision.energies import EnergySide, falling_powers
from mpq_onnx.precision.energy_prices import EnergyPrices, PricedEnergySide, PricedLimit
from mpq_onnx.precision.items import Levels, energy_items
from mpq_onnx.registries import ENERGY_LEVELS
from mpq_onnx.runs.energy_options import EnergyOptions
from mpq_onnx.runs.preparation import FloatModel
from mpq_onnx.runs.resource_limits import read_costs
from mpq_onnx.targets.cost_table import CostTable
from mpq_onnx.targets.table_resource import node_widths

MOST_KNOWN = 256
"""Energies of a table that are looked up; it is linear between them."""
SAME = 1e-6
"""Relative: energies that are told apart by no more are one."""


def energy_prices(
    base: FloatModel, sites: tuple[MacSite, ...], options: EnergyOptions
) -> dict[str, EnergyPrices]:
    """Prices of the energies by resource, those of the limits among them.

    Raises:
        UsageError: a limit on what no column of the table holds.
        AllocationError: the table is none of this model, or has no rows for energies.
    """
    limits = options.limits
    table = read_costs(options.costs, limits, own=())
    if table is None:
        return {}
    allocation = Allocation.embedded(base.model.metadata_props, base.path)
    widths = {} if allocation is None else node_widths(allocation)
    by_node = _energies_by_node(table, [site.node for site in sites])
    known, highest = _known_energies(by_node, table), max(map(max, by_node))
    return {
        column: _prices(table, column, sites, options.granularity, widths, known, highest)
        for column in table.resources
    }


def range_of_equal(
    base: FloatModel, sites: tuple[MacSite, ...], options: EnergyOptions, resource: str
) -> tuple[float, float]:
    """The least and the most that equal energies take of a resource, which a limit of `options` is on, under the others.

    Raises:
        UsageError, AllocationError: see energy_prices; no known energy is an allowed one, or keeps the other limits.
    """
    items, prices = energy_items(sites, options.granularity), energy_prices(base, sites, options)
    limits = tuple(
        PricedLimit(f"--max {name}={most:.6g}", math.inf if name == resource else most, prices[name])
        for name, most in options.limits.items()
    )
    side = PricedEnergySide(
        items, limits, ENERGY_LEVELS[options.energy_levels], falling_powers(options.noises)
    )
    side.check()
    kept = [
        energies for energies in map(side.equal, side.choices) if all(each.holds(energies) for each in limits)
    ]
    spent = [prices[resource].spent(energies) for energies in kept]
    return min(spent), max(spent)


def smallest_energy(options: EnergyOptions) -> float:
    """The smallest mean energy per MAC that can be had: of the kind of levels, and under limits of the cost table's rows.

    Raises:
        UsageError, AllocationError: a limit on what no column of the table holds; see _known_energies.
    """
    smallest = ENERGY_LEVELS[options.energy_levels].smallest
    table = read_costs(options.costs, options.limits, own=()) if options.limits else None
    if table is None:
        return float(smallest)
    nodes = {row.node for row in table.rows if row.energy_per_mac is not None}
    return max(float(smallest), float(_known_energies(_energies_by_node(table, nodes), table)[0]))


def table_notes(side: EnergySide | PricedEnergySide, energies: Levels) -> tuple[str, ...]:
    """What the rows of a cost table keep the energies, by node, from."""
    if not isinstance(side, PricedEnergySide):
        return ()
    prices, low, top = side.limits[0].prices, side.choices[0], side.choices[-1]
    notes = []
    if side.allows_everything:
        notes.append(
            f"the limits would allow more than {top:g} a MAC, the highest energy that all nodes have rows for in the cost"
            " table; add rows of higher ones to spend it"
        )
    else:
        ends = [("highest", "higher", "the limits may be spent better", top)]
        if low > side.allowed.smallest:
            ends.append(("lowest", "lower", "more may be left for others", low))
        notes += [
            f"the cost table stops the energies of {first_names(stopped)} at {end:g} a MAC, the {extreme} that all nodes have"
            f" rows for: with rows of {beyond} ones {gain}"
            for extreme, beyond, gain, end in ends
            if (stopped := _nodes_at(end, energies))
        ]
    if prices.reached_by_some > top:
        notes.append(
            f"some nodes have rows up to {prices.reached_by_some:g} a MAC in the cost table, but no node gets more than"
            f" {top:g}, which all have"
        )
    return tuple(notes)


def _nodes_at(end: float, energies: Levels) -> list[str]:
    """The nodes with that energy, each with how many of its channels, where not all have it."""
    named = []
    for node, each in energies.items():
        are = np.isclose(np.atleast_1d(each), end, rtol=SAME)
        if are.any():
            named.append(node if are.all() else f"{node} ({are.sum()} of {are.size} channels)")
    return named


def _energies_by_node(table: CostTable, nodes: Iterable[str]) -> list[set[float]]:
    """Of the nodes that have rows with one."""
    by_node: dict[str, set[float]] = {node: set() for node in nodes}
    for row in table.rows:
        if row.node in by_node and row.energy_per_mac is not None:
            by_node[row.node].add(row.energy_per_mac)
    given = [each for each in by_node.values() if each]
    if not given:
        raise AllocationError(f"{table.path}: has no column energy_per_mac; a table of energies needs it")
    return given


def _known_energies(given: list[set[float]], table: CostTable) -> np.ndarray:
    """Energies that every node has rows for, or lies between."""
    low, high = max(map(min, given)), min(map(max, given))
    found = sorted(energy for energy in set().union(*given) if low <= energy <= high)
    if not found or found[0] <= 0:
        raise AllocationError(
            f"{table.path}: energy_per_mac: no energies above 0 that all nodes have in common"
        )
    if len(found) > MOST_KNOWN:
        found = [found[place] for place in np.linspace(0, len(found) - 1, MOST_KNOWN).astype(int)]
    return np.array(found)


def _prices(
    table: CostTable,
    column: str,
    sites: tuple[MacSite, ...],
    granularity: str,
    widths: Mapping[str, tuple[float | None, float | None]],
    known: np.ndarray,
    highest: float,
) -> EnergyPrices:
    items = energy_items(sites, granularity)
    by_node = {
        site.node: np.array(
            [
                table.amount(column, site.node, *widths.get(site.node, (None, None)), float(each))
                for each in known
            ]
        )
        for site in sites
    }
    amounts = [
        np.tile(by_node[node] / count, (count, 1))
        for node, count in zip(items.names, items.counts, strict=True)
    ]
    return EnergyPrices(known, np.concatenate(amounts), table.fixed(column, by_node), highest)
