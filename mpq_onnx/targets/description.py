"""What a device takes, as data: the typed content of a target file (docs/targets.md)."""

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Interval, MinLen

from mpq_onnx.arithmetic.quantization import MAXIMUM_BITS, SCHEMES, levels_of
from mpq_onnx.documents.constraints import AsWritten, NotInFile, OneOf, Part
from mpq_onnx.documents.document import Document, FileKind
from mpq_onnx.documents.target_record import TargetRecord
from mpq_onnx.errors import TargetError
from mpq_onnx.registries import (
    ACTIVATION_RANGES,
    BIASES,
    ENERGY_LEVELS,
    EQUALIZATIONS,
    FIRST_LAST,
    GRANULARITIES,
    NOISE_MODELS,
    PER_CHANNEL,
    PER_TENSOR,
    PLACEMENTS,
    STORAGES,
)

FLOAT = "float"
FLOAT_WIDTH = math.inf
"""The width of what stays in float."""
PER_GROUP = "group"
SCALES = (PER_CHANNEL, PER_TENSOR, PER_GROUP)
FIRST, LAST = "first", "last"
PAIR = re.compile(r"W(\d+(?:\.\d+)?|float)A(\d+(?:\.\d+)?|float)")

Width = Annotated[float, Interval(ge=0, le=MAXIMUM_BITS), AsWritten()] | Literal["float"]
Widths = Annotated[tuple[Width, ...], MinLen(1)]


@dataclass(frozen=True)
class Format(Part):
    """What an activation may be."""

    bits: Widths | None = None
    """Widths, and `float` where it may stay in float."""


@dataclass(frozen=True)
class WeightFormat(Format):
    """What a weight may be."""

    scheme: Annotated[tuple[Annotated[str, OneOf(SCHEMES)], ...], MinLen(1)] | None = None
    """Where zero stands among the levels."""
    scales: Annotated[tuple[Annotated[str, OneOf(SCALES)], ...], MinLen(1)] | None = None
    """One a tensor, an output channel, or a group of weights."""


@dataclass(frozen=True)
class Rule(Part):
    """What holds for some operators. A rule that names none is for all."""

    operators: tuple[str, ...] = ()
    """ONNX operators."""
    names: tuple[str, ...] = ()
    """Names of nodes, with wildcards."""
    depthwise: bool | None = None
    """Convolutions whose every output channel reads one input channel; false: all others."""
    place: tuple[Literal["first", "last"], ...] = ()
    """The first and the last multiply-accumulate with a weight."""
    weights: WeightFormat | None = None
    """Of the constant operand of a multiply-accumulate, or of an embedding table."""
    inputs: Format | None = None
    """Of the activations that the operator reads."""
    outputs: Format | None = None
    """Of what it writes, behind the activation function that is fused into it."""
    pairs: Annotated[tuple[str, ...], MinLen(1)] | None = None
    """Widths of weight and input that go together, such as W4A8."""


@dataclass(frozen=True)
class TargetOptions(Part):
    """Options of an allocation that the device leaves no choice in, or few; the first is taken where nothing is said."""

    placement: Annotated[tuple[Annotated[str, OneOf(PLACEMENTS)], ...], MinLen(1)] | None = None
    activation_scheme: Annotated[tuple[Annotated[str, OneOf(SCHEMES)], ...], MinLen(1)] | None = None
    activation_ranges: Annotated[tuple[Annotated[str, OneOf(ACTIVATION_RANGES)], ...], MinLen(1)] | None = (
        None
    )
    granularity: Annotated[tuple[Annotated[str, OneOf(GRANULARITIES)], ...], MinLen(1)] | None = None
    """Whether output channels of one weight may have widths of their own."""
    equalization: Annotated[tuple[Annotated[str, OneOf(EQUALIZATIONS)], ...], MinLen(1)] | None = None
    first_last: Annotated[tuple[Annotated[str, OneOf(FIRST_LAST)], ...], MinLen(1)] | None = None
    embedding_bits: (
        Annotated[tuple[Annotated[int, Interval(ge=0, le=MAXIMUM_BITS)], ...], MinLen(1)] | None
    ) = None
    bias: Annotated[tuple[Annotated[str, OneOf(BIASES)], ...], MinLen(1)] | None = None
    storage: Annotated[tuple[Annotated[str, OneOf(STORAGES)], ...], MinLen(1)] | None = None


@dataclass(frozen=True)
class Analog(Part):
    """Multiply-accumulates that add noise."""

    noise: tuple[Annotated[str, OneOf(NOISE_MODELS)], ...] | None = None
    """Noise models that act in the device; an empty list for a device that computes exactly."""
    energy_levels: Annotated[tuple[Annotated[str, OneOf(ENERGY_LEVELS)], ...], MinLen(1)] | None = None
    """Which energies it can give a multiply-accumulate."""
    granularity: Annotated[tuple[Annotated[str, OneOf(GRANULARITIES)], ...], MinLen(1)] | None = None
    """Whether output channels may have energies of their own."""


@dataclass(frozen=True)
class Statement:
    """What one line of a target file says."""

    values: tuple[Any, ...]
    place: str
    """The file and the line, for errors."""
    spelled: str
    """What it is about, such as `weights bits`."""

    def allows(self, value: Any) -> bool:
        """Is it one of the values? Widths are equal where their levels are."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            return any(same_width(value, each) for each in self.values)
        return value in self.values

    def __str__(self) -> str:
        return f"{self.place}: {self.spelled} {listed(self.values)}"


@dataclass(frozen=True)
class Target(Document):
    """A whole file."""

    KIND: ClassVar[FileKind] = FileKind("target", "mpq-onnx/target", 1, "docs/targets.md", TargetError)

    name: str
    about: str = ""
    """The device, in a sentence."""
    rules: tuple[Rule, ...] = ()
    """Of several that are for one operator, the last that says something of it holds."""
    options: TargetOptions = TargetOptions()
    hand_off: tuple[str, ...] = ()
    """Forms of `handoff` that the device's tools read; the first is taken where none is named."""
    analog: Analog = Analog()
    path: Annotated[str, NotInFile()] = ""
    """Of the file, for errors."""
    text: Annotated[str, NotInFile()] = field(default="", repr=False)
    lines: Annotated[dict[tuple[Any, ...], int], NotInFile()] = field(
        default_factory=dict, compare=False, repr=False
    )

    def fields(self) -> dict[str, Any]:
        """What the file says, without what is left to the user."""
        found = super().fields()
        for name in ("path", "text", "lines"):
            del found[name]
        return dict(_without_silence(found))

    @property
    def digest(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def record(self) -> TargetRecord:
        """What an allocation keeps of it."""
        return TargetRecord(self.name, self.digest, self.text)

    def place(self, *path: str | int) -> str:
        """The file and the line on which something stands."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.path}, line {self.lines.get(path, 1)}"

    def option(self, name: str) -> Statement | None:
        """What it leaves of an option of an allocation of bits."""
        return self._statement(getattr(self.options, name, None), "options", name)

    def analog_option(self, name: str) -> Statement | None:
        """What it says of noise."""
        return self._statement(getattr(self.analog, name, None), "analog", name)

    @property
    def hand_offs(self) -> Statement | None:
        """Forms that its tools read; None for any."""
        return self._statement(self.hand_off or None, "hand_off")

    def said(self, rule: int, side: str, what: str = "") -> Statement | None:
        """What a rule says of the `what` (bits, scheme, scales) of a side, or of `pairs`."""
        part = getattr(self.rules[rule], side)
        if not what:
            pairs = None if part is None else tuple(read_pair(each) for each in part)
            return self._statement(pairs, "rules", rule, side)
        values = getattr(part, what, None)
        if what == "bits" and values is not None:
            values = tuple(map(width_of, values))
        return self._statement(values, "rules", rule, side, what)

    def all_said(self, side: str, what: str = "") -> Iterator[tuple[Rule, Statement]]:
        """What all rules say of it, in order."""
        for place, rule in enumerate(self.rules):
            statement = self.said(place, side, what)
            if statement is not None:
                yield rule, statement

    def _statement(self, values: tuple[Any, ...] | None, *path: str | int) -> Statement | None:
        if values is None:
            return None
        words = [str(each).replace("_", "-") for each in path if isinstance(each, str) and each not in ROOMS]
        return Statement(values, self.place(*path), " ".join(words))


ROOMS = ("rules", "options", "analog")
"""Names above what a statement is about."""
OPTIONS = tuple(each.name for each in fields(TargetOptions))
ANALOG_NAMES = tuple(each.name for each in fields(Analog))


def is_for_all(rule: Rule) -> bool:
    """It names no operators."""
    return not (rule.operators or rule.names or rule.place) and rule.depthwise is None


def _without_silence(value: Any) -> Any:
    """Fields that say nothing left out."""
    if isinstance(value, dict):
        return {key: _without_silence(each) for key, each in value.items() if each is not None}
    return [_without_silence(each) for each in value] if isinstance(value, tuple | list) else value


def width_of(said: float | str) -> float:
    """A width as a number; FLOAT_WIDTH for float."""
    return FLOAT_WIDTH if said == FLOAT else float(said)


def same_width(one: float, other: float) -> bool:
    """They have the same levels."""
    if math.isinf(one) or math.isinf(other):
        return one == other
    return levels_of(one) == levels_of(other)


def read_pair(text: str) -> tuple[float, float]:
    """(width of the weight, width of the input) of W4A8."""
    found = PAIR.fullmatch(text)
    assert found is not None, text
    return width_of(found[1]), width_of(found[2])


def listed(values: tuple[Any, ...]) -> str:
    """Values of a statement in words."""
    return ", ".join(map(_word, values)) or "none"


def _word(value: Any) -> str:
    if isinstance(value, tuple):
        return f"W{_word(value[0])}A{_word(value[1])}"
    if isinstance(value, float):
        return FLOAT if math.isinf(value) else f"{value:g}"
    return str(value)
