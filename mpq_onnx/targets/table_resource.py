"""A column of a cost table as a resource: what it says of every multiply-accumulate, at the widths that meet there."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

from mpq_onnx.documents.allocation import Allocation
from mpq_onnx.documents.node_precision import NodePrecision
from mpq_onnx.documents.resources.terms import Sum, Term
from mpq_onnx.targets.cost_table import CostTable


def table_sums(entries: Sequence[NodePrecision], table: CostTable, column: str) -> tuple[Sum, ...]:
    """One sum: a term a multiply-accumulate, and what all other nodes take.

    A recurrent layer, which has two weights and one row, is shared out by their MACs.

    Raises:
        AllocationError: the table has rows for widths of a node that is no multiply-accumulate.
    """
    macs: Counter[str] = Counter()
    for entry in entries:
        macs[entry.node] += entry.macs
    multiplying = [entry for entry in entries if entry.macs]
    streamed = _streamed(entries)
    fixed = table.fixed(column, {entry.node for entry in multiplying})
    terms = [
        Term(
            entry.node,
            (entry.held, streamed[entry.node]),
            partial(_share, table, column, entry.node, entry.macs / macs[entry.node]),
        )
        for entry in multiplying
    ]
    return ((*terms, Term("", (), partial(float, fixed))),)


def _share(
    table: CostTable, column: str, node: str, share: float, held: float | None, streamed: float | None
) -> float:
    return share * table.amount(column, node, held, streamed)


def node_widths(allocation: Allocation) -> dict[str, tuple[float | None, float | None]]:
    """By multiply-accumulate node: bits of the operand that is held and of the one that streams; None for float."""
    widths, streamed = allocation.widths(), _streamed(allocation.nodes)
    return {
        entry.node: (
            widths.get(entry.other_input or "") if entry.weight is None else entry.mean_weight_bits,
            widths.get(streamed[entry.node] or ""),
        )
        for entry in allocation.nodes
        if entry.macs
    }


def _streamed(entries: Sequence[NodePrecision]) -> dict[str, str | None]:
    """By node the activation that its table's rows are about: of a recurrent layer its input, not its own state."""
    found: dict[str, str | None] = {}
    for entry in entries:
        if entry.macs and found.get(entry.node) is None:
            found[entry.node] = entry.input
    return found
