"""Limits as texts: `weight_bytes=1MB`."""

import math
import re
from collections.abc import Collection, Iterable, Sequence

from mpq_onnx.errors import UsageError

PREFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
AMOUNT = re.compile(r"([-+.\deE]+?)([kKMGT]?)(B?)")
EXAMPLE = "write RESOURCE=AMOUNT, above 0, such as weight_bytes=1MB, bops=2G or, with --costs, energy_uj=12.5"


def read_limits(texts: Sequence[str]) -> dict[str, float]:
    """The most of each resource, from texts such as `weight_bytes=1MB`.

    Raises:
        UsageError: a text that says none, or two of one resource.
    """
    found: dict[str, float] = {}
    for text in texts:
        name, equals, said = text.partition("=")
        amount = amount_of(said)
        if not (name and equals) or amount is None:
            raise UsageError(f"--max {text}: {EXAMPLE}")
        if name in found:
            raise UsageError(f"--max {text}: {name} has a limit already; give each once")
        found[name] = amount
    return found


def check_table_given(limits: Iterable[str], own: Collection[str], has_table: bool) -> None:
    """Raise UsageError for a limit on what only a column of a cost table can be, where there is no table.

    Args:
        own: resources that are counted without one; none of the energies under noise.
    """
    for name in () if has_table else sorted(set(limits) - set(own)):
        known = (
            f"there is {', '.join(own)}; others are columns of a table, given"
            if own
            else "with --noise only columns of a cost table can be limited: give one"
        )
        raise UsageError(f"--max {name}: {known} by --costs")


def amount_of(text: str) -> float | None:
    """`250kB`, `2G`, `12.5`; None for what is no positive number."""
    match = AMOUNT.fullmatch(text.strip())
    try:
        number = float(match[1]) * PREFIXES[match[2]] if match else math.nan
    except ValueError:
        return None
    return number if 0 < number < math.inf else None
