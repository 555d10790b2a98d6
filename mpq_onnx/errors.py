"""The errors that a user can cause, each with the exit code that the command line answers with."""


class MpqOnnxError(Exception):
    """Base of all errors that are the input's fault: the message is one line (what, where, what to do)."""

    exit_code = 3


class UsageError(MpqOnnxError):
    """The request itself makes no sense: an unknown option value, a budget out of reach."""

    exit_code = 2


class ModelError(MpqOnnxError):
    """The model cannot be read, converted, mirrored or run."""


class DataError(MpqOnnxError):
    """The data set cannot be read, or does not fit the model."""


class AllocationError(MpqOnnxError):
    """The allocation cannot be read, or belongs to another model."""


class OutputError(MpqOnnxError):
    """A result cannot be written."""


def check_choice(name: str, value: str, choices: object) -> None:
    """Raise UsageError unless `value` is one of `choices`."""
    names = list(choices)  # type: ignore[call-overload]
    if value not in names:
        raise UsageError(f"{name} {value}: choose one of {', '.join(names)}")
