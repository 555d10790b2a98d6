"""What every result offers in a notebook: as a dict, as a table of pandas or HTML, as a figure."""

import html
import importlib
import json
import math
from typing import TYPE_CHECKING, Any, ClassVar

from mpq_onnx.errors import MissingPackageError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 60
"""Of a table in a notebook."""
MOST_BARS = 80
WIDTH, ROW_HEIGHT, MARGIN = 7.0, 0.22, 1.2
"""Of a figure, in inches."""
DIGITS = 6


class Result:
    """Base of results; each says what its rows are, and which of their columns a figure shows."""

    DRAWN: ClassVar[tuple[str, str] | None] = None
    """Names of the columns along the two axes of the figure: what the bars are called, how long they are."""

    @property
    def title(self) -> str:
        """The result in a line."""
        return type(self).__name__

    @property
    def table(self) -> list[dict[str, Any]]:
        """The table: what was found, by column."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """What --json prints: plain dicts, lists, numbers and texts."""
        from mpq_onnx.report.as_json import to_json

        found = json.loads(to_json(self))
        return found if isinstance(found, dict) else {"rows": found}

    def to_pandas(self) -> Any:
        """The rows as a pandas.DataFrame.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")
        except ImportError as error:
            raise MissingPackageError(
                "pandas is not there: pip install pandas, or take .table or .to_dict()"
            ) from error
        return pandas.DataFrame(self.table)

    def plot(self) -> "Figure":
        """A figure of matplotlib, which a notebook shows and `savefig` writes: a bar a row.

        Raises:
            UsageError: the result has nothing to draw.
        """
        from matplotlib.figure import Figure

        rows = self.table[:MOST_BARS]
        if self.DRAWN is None or not rows:
            raise UsageError(f"{type(self).__name__} has nothing to draw; see .table and .to_dict()")
        label, value = self.DRAWN
        figure = Figure((WIDTH, MARGIN + ROW_HEIGHT * len(rows)), layout="constrained")
        axes = figure.subplots()
        lengths = [_length(row.get(value)) for row in rows]
        axes.barh(range(len(rows)), lengths, color="#4477aa")
        axes.set_yticks(range(len(rows)), [str(row.get(label)) for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel(value.replace("_", " "))
        axes.set_title(self.title, fontsize="medium")
        axes.grid(axis="x", alpha=0.3)
        return figure

    def _repr_html_(self) -> str:
        """A table of the rows, and the notes."""
        rows = self.table
        columns = list(dict.fromkeys(name for row in rows for name in row))
        head = "".join(f"<th>{_text(name.replace('_', ' '))}</th>" for name in columns)
        body = "".join(
            f"<tr>{''.join(f'<td>{_text(row.get(name))}</td>' for name in columns)}</tr>"
            for row in rows[:MOST_ROWS]
        )
        more = f"<p>{len(rows) - MOST_ROWS} more rows</p>" if len(rows) > MOST_ROWS else ""
        notes = "".join(f"<p>NOTE: {_text(note)}</p>" for note in getattr(self, "notes", ()))
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
        return f"<p><b>{_text(self.title)}</b></p>{table}{more}{notes}"


def _length(value: Any) -> float:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0
    return number if math.isfinite(number) else 0.0


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}"
    return html.escape(str(value))
