"""Options stated once: name, default, choices, limits and help of a request's field.

The check of a request, the command line with its help, --config files, the axes of a sweep and the table in docs/options.md all
read them here.
"""

import dataclasses
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, get_args, get_origin

from mpq_onnx.errors import UsageError, check_choice

METHOD, NOISE, QUANTIZERS, ROUNDING, TRAINING, MACHINE = (
    "Method", "Noise", "Quantizers", "Rounding", "Training", "Data, files, machine"
)  # fmt: skip
HEADINGS = (METHOD, NOISE, QUANTIZERS, ROUNDING, TRAINING, MACHINE)
KEY = "declared"


@dataclass(frozen=True)
class Declared:
    """What is said of an option beside its name, type and default."""

    heading: str
    help: str
    choices: Collection[str] = ()
    """None where anything goes."""
    least: float | None = None
    """Of a number."""
    most: float | None = None
    above: float | None = None
    """The same, not reached."""
    metavar: str | None = None
    """What stands for the value in the help."""
    shown_default: str | None = None
    """Where the default is None: what that means."""


@dataclass(frozen=True)
class Option:
    """A field of a request."""

    name: str
    """With underscores."""
    kind: type
    """bool, int, float, str, or tuple for several."""
    item: type
    """Of several: float or str; else the kind."""
    default: Any
    declared: Declared

    @property
    def spelled(self) -> str:
        """As on the command line, without the dashes before it."""
        return self.name.replace("_", "-")

    def check(self, value: Any) -> None:
        """Raise UsageError for a value that is none."""
        declared = self.declared
        if value is None and self.default is None:
            return
        self._check_kind(value)
        if declared.choices:
            for each in value if self.kind is tuple else (value,):
                check_choice(self.spelled, each, declared.choices)
        elif self.kind in (int, float):
            self._check_number(value)

    def _check_kind(self, value: Any) -> None:
        """Raise UsageError for a value of another kind; numbers are looked at where their limits are."""
        if self.kind is tuple:
            if not isinstance(value, tuple | list):
                raise UsageError(f"{self.spelled} {value!r}: give several, in a tuple")
            for each in value:
                if self.item is str and not isinstance(each, str):
                    raise UsageError(f"{self.spelled}: {each!r} is no text")
                if self.item is float:
                    check_is_number(self.spelled, each)
        elif self.kind in (str, bool) and not isinstance(value, self.kind):
            raise UsageError(
                f"{self.spelled} {value!r}: give {'True or False' if self.kind is bool else 'a text'}"
            )

    def _check_number(self, value: Any) -> None:
        check_is_number(self.spelled, value)
        if self.kind is int and not isinstance(value, Integral):
            raise UsageError(f"{self.spelled} {value}: must be a whole number")
        number = float(value)
        declared = self.declared
        if declared.least is not None and not declared.least <= number < math.inf:
            raise UsageError(f"{self.spelled} {number:g}: must be at least {declared.least:g}")
        if declared.most is not None and number > declared.most:
            raise UsageError(f"{self.spelled} {value}: must be at most {declared.most:.0f}")
        if declared.above is not None and not declared.above < number < math.inf:
            raise UsageError(f"{self.spelled} {number:g}: give a number above {declared.above:g}")


def check_is_number(spelled: str, value: object) -> None:
    """Raise UsageError for what an option that takes a number cannot be; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"--{spelled}: {value!r} is no number")


def option(default: Any, heading: str, text: str, **more: Any) -> Any:
    """A field of a request; `more` are fields of Declared."""
    return dataclasses.field(default=default, metadata={KEY: Declared(heading, text, **more)})


def options_of(request: type) -> Iterator[Option]:
    """The options that a request's class declares, in order."""
    for field in dataclasses.fields(request):
        if KEY in field.metadata:
            yield Option(field.name, *_kinds(field.type), field.default, field.metadata[KEY])


def check_options(request: Any) -> None:
    """Raise UsageError for the first option whose value is none; a list of values becomes a tuple, which has a hash."""
    for each in options_of(type(request)):
        value = getattr(request, each.name)
        each.check(value)
        if isinstance(value, list):
            object.__setattr__(request, each.name, tuple(value))


def _kinds(annotation: Any) -> tuple[type, type]:
    """The type of a value, None aside, and of its parts where it has several."""
    if get_origin(annotation) is tuple:
        return tuple, get_args(annotation)[0]
    kinds = [each for each in get_args(annotation) if each is not type(None)]
    return _kinds(kinds[0]) if kinds else (annotation, annotation)
