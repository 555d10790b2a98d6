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
    return f"{', '.join(texts)}{_more(unknown)}; only widths, ranges and energies may be edited"


def named_first(kind: str, names: Sequence[str]) -> str:
    """`node a, b, c and 4 more`."""
    return f"{kind} {', '.join(names[:MOST_NAMED])}{_more(names)}"


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
