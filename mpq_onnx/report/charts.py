"""What figures show, as data: the page draws it with plotly, files are drawn with matplotlib (chart_files.py)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Values = tuple[float | None, ...]


@dataclass(frozen=True)
class Series:
    """A value a layer; None where a layer has none."""

    label: str
    values: Values
    low: Values | None = None
    """The smallest channel of each, where channels differ; likewise `high`."""
    high: Values | None = None
    mean: float | None = None
    """Drawn as a line across."""
    mean_label: str = "mean"


@dataclass(frozen=True)
class LayerChart:
    """Series by layer, in graph order."""

    name: str
    """For a file, and to find the same chart of another run."""
    caption: str
    label: str
    """Of the y axis, with its unit."""
    layers: tuple[str, ...]
    """Each once."""
    series: tuple[Series, ...]
    log: bool = False


@dataclass(frozen=True)
class Axis:
    """Something to draw points against."""

    key: str
    label: str
    values: Values
    best: frozenset[int] = frozenset()
    """Points that no other beats here."""
    log: bool = False


@dataclass(frozen=True)
class Scatter:
    """Points against any of several axes."""

    name: str
    caption: str
    label: str
    titles: tuple[str, ...]
    values: Values
    axes: tuple[Axis, ...]
    low: Values | None = None
    high: Values | None = None
    reference: Mapping[str, float] = field(default_factory=dict)
    """Lines across, by name."""
    best_label: str = ""
    """What the points in Axis.best are."""
    log: bool = False


Chart = LayerChart | Scatter


def spans_decades(values: Values) -> bool:
    """True where an axis had better be logarithmic."""
    positive = [value for value in values if value is not None and value > 0]
    return bool(positive) and max(positive) > 8 * min(positive)
