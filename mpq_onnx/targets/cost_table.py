"""Cost tables: what a device takes for every multiply-accumulate node at every pair of widths, or at every energy per MAC.

A CSV file that a profiler writes, or a person. Columns `node`, `weight_bits`, `activation_bits` and `energy_per_mac` say what a
row is for; every other column is a resource (latency_ms, energy_uj, ...), and its numbers are amounts for one example. Widths
are numbers or `float`, an empty cell goes for any. Between rows amounts are interpolated; beyond them nothing is guessed.
"""

import csv
import io
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpq_onnx.arithmetic.quantization import MAXIMUM_BITS, counted_bits
from mpq_onnx.errors import AllocationError, UsageError
from mpq_onnx.files import here, write_text

NODE, WEIGHT_BITS, ACTIVATION_BITS, ENERGY_PER_MAC = (
    "node", "weight_bits", "activation_bits", "energy_per_mac",
)  # fmt: skip
KEYS = (NODE, WEIGHT_BITS, ACTIVATION_BITS, ENERGY_PER_MAC)
FLOAT = "float"
COMMENT = "#"
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
LARGEST_AMOUNT = 1e30


@dataclass(frozen=True)
class CostRow:
    """Amounts of one node at one precision."""

    node: str
    """Of the canonical float model; the names of nodes that are no multiply-accumulates go for what they always take."""
    weight_bits: float | None
    """Of the operand that is held; math.inf for float, None for any."""
    activation_bits: float | None
    """Of the operand that streams, the same way."""
    energy_per_mac: float | None
    """In the noise model's unit; None for any."""
    amounts: Mapping[str, float]
    """By resource, for one example."""


@dataclass(frozen=True)
class CostTable:
    """All rows of a file."""

    rows: tuple[CostRow, ...]
    resources: tuple[str, ...]
    made_by: str = ""
    """What the file's first line says of its origin."""
    path: str = "the cost table"
    """Where it was read from, for errors."""

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Nodes with a row, in the file's order."""
        return tuple(self._by_node)

    @cached_property
    def _by_node(self) -> dict[str, list[CostRow]]:
        found: dict[str, list[CostRow]] = {}
        for row in self.rows:
            found.setdefault(row.node, []).append(row)
        return found

    def amount(
        self,
        resource: str,
        node: str,
        weight_bits: float | None = None,
        activation_bits: float | None = None,
        energy_per_mac: float | None = None,
    ) -> float:
        """What the node takes at these widths (None: float) and this energy, interpolated between rows.

        Raises:
            AllocationError: the table has nothing for the node, or nothing at or around what is asked for.
        """
        rows = self._by_node.get(node)
        if rows is None:
            raise AllocationError(
                f"{self.path}: no row for node {node}; a table needs every multiply-accumulate"
            )
        asked = {
            WEIGHT_BITS: math.inf if weight_bits is None else weight_bits,
            ACTIVATION_BITS: math.inf if activation_bits is None else activation_bits,
            ENERGY_PER_MAC: energy_per_mac,
        }
        return _interpolated(rows, resource, asked, (WEIGHT_BITS, ACTIVATION_BITS, ENERGY_PER_MAC), self.path)

    def fixed(self, resource: str, counted: Iterable[str]) -> float:
        """What everything but the nodes `counted` takes, whose rows name no widths.

        Raises:
            AllocationError: another node's row names a width, so that the table is of another model.
        """
        known, total = set(counted), 0.0
        for node, rows in self._by_node.items():
            if node in known:
                continue
            if len(rows) > 1 or any(getattr(rows[0], key) is not None for key in KEYS[1:]):
                raise AllocationError(
                    f"{self.path}: node {node} has rows for widths, which is no multiply-accumulate here: another model's?"
                )
            total += rows[0].amounts[resource]
        return total

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all."""
        text = io.StringIO()
        if self.made_by:
            text.write(f"{COMMENT} {self.made_by}\n")
        writer = csv.writer(text, lineterminator="\n")
        quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow([*KEYS, *self.resources])
        for row in self.rows:
            keys = (row.weight_bits, row.activation_bits, row.energy_per_mac)
            # A lone carriage return, which readers take for the end of a line, is none that the writer would quote.
            (quoting if "\r" in row.node else writer).writerow(
                [row.node, *map(_written, keys), *(f"{row.amounts[name]:.9g}" for name in self.resources)]
            )
        write_text(path, text.getvalue())


def load_cost_table(path: str | os.PathLike[str]) -> CostTable:
    """Read a table.

    Raises:
        AllocationError: missing, or not such a table; the message names line and column.
    """
    try:
        with here(path).open(encoding="utf-8-sig", newline="") as file:
            return _read(file.read(), str(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AllocationError(f"{path}: cannot be read as a cost table: {error}") from error


def _read(text: str, where: str) -> CostTable:
    comments: list[str] = []
    while text.startswith(COMMENT):  # above the names of the columns; a node's name may begin with it
        line, _, text = text.partition("\n")
        comments.append(line.strip(COMMENT + " \r"))
    reader = csv.reader(io.StringIO(text, newline=""))
    names = [name.strip() for name in next(reader, [])]
    resources = tuple(name for name in names if name not in KEYS)
    if NODE not in names or not resources or len(set(names)) < len(names) or "" in names:
        raise AllocationError(
            f"{where}: the first line must name the columns: node, weight_bits, activation_bits, resources such as energy_uj,"
            " each once"
        )
    rows = tuple(
        _read_row(
            dict(zip(names, row, strict=False)),
            names,
            len(row),
            f"{where}, line {reader.line_num + len(comments)}",
        )
        for row in reader
        if any(cell.strip() for cell in row)
    )
    table = CostTable(rows, resources, comments[0] if comments else "", where)
    _check_once(table)
    return table


def _read_row(cells: dict[str, str], names: Sequence[str], count: int, where: str) -> CostRow:
    if count != len(names):
        raise AllocationError(f"{where}: {count} cells where the first line names {len(names)} columns")
    numbers = {
        name: _number(cells[name].strip(), f"{where}, column {name}") for name in names if name not in KEYS
    }
    keys = {
        name: _key(cells.get(name, "").strip(), f"{where}, column {name}", takes_float=name != ENERGY_PER_MAC)
        for name in KEYS[1:]
    }
    if not cells[NODE]:
        raise AllocationError(f"{where}: no node is named")
    return CostRow(cells[NODE], keys[WEIGHT_BITS], keys[ACTIVATION_BITS], keys[ENERGY_PER_MAC], numbers)


def _number(text: str, where: str) -> float:
    number = float(text) if NUMBER.fullmatch(text) else math.nan
    if not 0 <= number <= LARGEST_AMOUNT:
        raise AllocationError(f"{where}: {text!r} is no amount; write a number from 0 to {LARGEST_AMOUNT:g}")
    return number


def _key(text: str, where: str, *, takes_float: bool) -> float | None:
    if not text:
        return None
    if text == FLOAT and takes_float:
        return math.inf
    number = _number(text, where)
    # A fractional width counts log2 of its levels, everywhere.
    return counted_bits(number) if takes_float and number <= MAXIMUM_BITS else number


def _written(key: float | None) -> str:
    return "" if key is None else FLOAT if math.isinf(key) else f"{key:.9g}"


def _check_once(table: CostTable) -> None:
    seen = set()
    for row in table.rows:
        key = (row.node, row.weight_bits, row.activation_bits, row.energy_per_mac)
        if key in seen:
            said = _asked_text(dict(zip(KEYS[1:], key[1:], strict=True)))
            raise AllocationError(
                f"{table.path}: node {row.node} has two rows for {said or 'any width'}; keep one"
            )
        seen.add(key)


def _interpolated(
    rows: Sequence[CostRow],
    resource: str,
    asked: Mapping[str, float | None],
    keys: Sequence[str],
    where: str,
) -> float:
    """Along the first of `keys`, between what the others say."""
    if not keys:
        return rows[0].amounts[resource]
    key, others = keys[0], keys[1:]
    groups: dict[float | None, list[CostRow]] = {}
    for row in rows:
        groups.setdefault(getattr(row, key), []).append(row)
    wanted = asked[key]
    exact = groups.get(wanted, groups.get(None))
    if exact is not None:
        return _interpolated(exact, resource, asked, others, where)
    known = sorted(each for each in groups if each is not None and math.isfinite(each))
    if wanted is None:
        raise AllocationError(
            f"{where}: node {rows[0].node}: its rows are for energies per MAC; give --noise, or rows of widths"
        )
    if not known or not known[0] <= wanted <= known[-1]:
        raise AllocationError(
            f"{where}: node {rows[0].node}: nothing for {_asked_text(asked)}; of {key} there is"
            f" {', '.join(map(_written, sorted(each for each in groups if each is not None)))}"
        )
    above = int(np.searchsorted(known, wanted))
    low, high = known[above - 1], known[above]
    share = (wanted - low) / (high - low)
    ends = [_interpolated(groups[end], resource, asked, others, where) for end in (low, high)]
    return ends[0] + share * (ends[1] - ends[0])


def _asked_text(asked: Mapping[str, float | None]) -> str:
    """`weight_bits 4, activation_bits 16`."""
    return ", ".join(f"{key} {_written(value)}" for key, value in asked.items() if value is not None)


def check_resource(table: CostTable, resource: str) -> None:
    """Raise UsageError for a resource that no column holds."""
    if resource not in table.resources:
        raise UsageError(f"{table.path}: no column {resource}; there is {', '.join(table.resources)}")
