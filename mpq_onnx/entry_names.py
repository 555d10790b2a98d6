"""Names of a document's entries that do not fit a model, for messages."""

import difflib
from collections.abc import Sequence

MOST_NAMED = 4


def listed_unknown(unknown: Sequence[str], known: Sequence[str]) -> str:
    """The first names that are none, each with the known one that is nearest to it, and what may be edited instead."""
    texts = []
    for name in unknown[:MOST_NAMED]:
        near = difflib.get_close_matches(name, known, 1)
        texts.append(f"{name} (meant is {near[0]}?)" if near else name)
    more = len(unknown) - MOST_NAMED
    return (
        ", ".join(texts)
        + (f" and {more} more" if more > 0 else "")
        + "; only widths, ranges and energies may be edited"
    )


def named_first(kind: str, names: Sequence[str]) -> str:
    """`node a, b, c and 4 more`."""
    more = len(names) - MOST_NAMED
    return f"{kind} {', '.join(names[:MOST_NAMED])}" + (f" and {more} more" if more > 0 else "")
