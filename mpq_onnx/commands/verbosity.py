"""-v and -q, which every command takes, before its name or after."""

import logging
from typing import Any, TypeVar

import click

from mpq_onnx.progress import tell

Command = TypeVar("Command", bound=click.Command)
LEVELS = {"verbose": logging.DEBUG, "quiet": logging.WARNING}


def _tell(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    """Take the one that was given; both at once contradict each other, wherever they stand."""
    if not given:
        return
    told = context.find_root().meta.setdefault("mpq_onnx.told", parameter.name)
    if told != parameter.name:
        raise click.UsageError("-v and -q contradict each other; give one of them")
    tell(LEVELS[str(parameter.name)])


def _flag(letter: str, name: str, text: str) -> click.Option:
    settings: dict[str, Any] = {"is_flag": True, "expose_value": False, "callback": _tell, "help": text}
    return click.Option([f"-{letter}", f"--{name}"], **settings)


def verbosity_options(command: Command) -> Command:
    """The command, with both added to its options."""
    command.params += [
        _flag("v", "verbose", "Tell more: what stages took, and every epoch of training."),
        _flag("q", "quiet", "Tell nothing but the result and errors."),
    ]
    return command


def takes_verbosity(command: click.Command) -> bool:
    """They were added already."""
    return any(each.name in LEVELS for each in command.params)
