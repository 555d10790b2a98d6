"""The errors that a user can cause, each with the exit code that the command line answers with."""

from collections.abc import Sequence

LONGEST_REASON = 200
"""Characters that are shown of what a library says."""
MOST_NAMED = 8
"""Of many, in a line."""


class MpqOnnxError(Exception):
    """Base of all errors that are the input's fault: the message is one line (what, where, what to do)."""

    exit_code = 3

    def __str__(self) -> str:
        """The message; control characters, which a name from a file may hold, are shown as escapes."""
        return "".join(each if each.isprintable() else repr(each)[1:-1] for each in super().__str__())


class UsageError(MpqOnnxError):
    """The request itself makes no sense: an unknown option value, a budget out of reach."""

    exit_code = 2


class ModelError(MpqOnnxError):
    """The model cannot be read, converted, mirrored or run."""


class DataError(MpqOnnxError):
    """The data set cannot be read, or does not fit the model."""


class AllocationError(MpqOnnxError):
    """The allocation cannot be read, or belongs to another model."""


class TargetError(MpqOnnxError):
    """A target file cannot be read."""


class OutputError(MpqOnnxError):
    """A result cannot be written."""


class ClusterError(MpqOnnxError):
    """The workers cannot be reached, or cannot do the work."""


class LostRankError(Exception):
    """A process that works on the same is gone: no fault of the input, and what is done may be gone on with."""

    exit_code = 3


class MissingPackageError(MpqOnnxError, ImportError):
    """What was asked for needs a package that is not installed here; says how to install it."""

    exit_code = 2


class PluginError(UsageError):
    """What another package has added to a registry cannot be used."""


def check_choice(name: str, value: str, choices: object) -> None:
    """Raise UsageError unless `value` is one of `choices`."""
    names = list(choices)  # type: ignore[call-overload]
    if value not in names:
        raise UsageError(f"{name} {value}: choose one of {', '.join(names)}")


def first_names(names: Sequence[str], most: int = MOST_NAMED) -> str:
    """`a, b, c and 4 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def first_line(error: BaseException) -> str:
    """What an error of a library says, up to its first line break."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def deepest_line(error: BaseException) -> str:
    """What the error said that others were raised from, up to its first line break."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def one_line(error: BaseException) -> str:
    """All that an error of a library says, in one line that is not too long."""
    return " ".join(str(error).split())[:LONGEST_REASON]
