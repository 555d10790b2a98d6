"""The command line's options: those of a request are made from its class, the others that commands share stand here."""

from collections.abc import Callable, Collection
from typing import Any

import click
from click.shell_completion import CompletionItem

from mpq_onnx.commands.option_types import FILE, SPEC, NumberList
from mpq_onnx.errors import UsageError
from mpq_onnx.runs import option_values
from mpq_onnx.runs.declared import HEADINGS, MACHINE, NOISE, Option, options_of

Command = Callable[..., Any]


class HeadedOption(click.Option):
    """An option under a heading of its command's help (see HeadedCommand)."""

    def __init__(self, *arguments: Any, heading: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.heading = heading


class HeadedCommand(click.Command):
    """Its help lists options under their headings; those that have none come first."""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        by_heading: dict[str, list[tuple[str, str]]] = {heading: [] for heading in ("Options", *HEADINGS)}
        for each in self.get_params(context):
            record = None if isinstance(each, click.Argument) else each.get_help_record(context)
            heading = each.heading if isinstance(each, HeadedOption) else "Options"
            if record is not None:
                by_heading[heading].append(record)
        for heading, records in by_heading.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def _configure(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    """Take the defaults of all other options from a file."""
    if path is None:
        return
    from mpq_onnx.runs.configuration import check_names, read_configuration

    found = read_configuration(path)
    names = {
        text.lstrip("-").replace("-", "_"): each
        for each in context.command.params
        for text in (str(each.name), *each.opts)
    }
    check_names(found, names.keys() - {"config"}, f"--config {path}")
    spelled: dict[str, str] = {}
    for name in found:
        other = spelled.setdefault(str(names[name].name), name)
        if other != name:
            raise UsageError(f"--config {path}: {name} and {other} are the same option; keep one")
    context.default_map = {
        str(names[name].name): _typed(f"--config {path}: {name.replace('_', '-')}", names[name], value)
        for name, value in found.items()
    }


def _typed(where: str, parameter: click.Parameter, value: Any) -> Any:
    """A value of a file as the parameter takes it.

    Raises:
        UsageError: it is of another type; nothing is rounded or cut to fit.
    """
    if parameter.multiple:
        return tuple(map(str, value)) if isinstance(value, list) else (str(value),)
    if isinstance(parameter.type, NumberList):
        values = value if isinstance(value, list) else value.split(",") if isinstance(value, str) else [value]
        return tuple(_number(where, each) for each in values)
    if isinstance(parameter.type, click.types.BoolParamType):
        if not isinstance(value, bool):
            raise UsageError(f"{where}: {value!r} is neither true nor false")
        return value
    if isinstance(parameter.type, click.types.IntParamType | click.types.FloatParamType):
        number = _number(where, value)
        if isinstance(parameter.type, click.types.IntParamType) and number != int(number):
            raise UsageError(f"{where}: {value!r} is no whole number")
        return value
    return value if value is None else str(value)


def _number(where: str, value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(f"{where}: {value!r} is no number") from None


config_option = click.option(
    "--config",
    type=FILE,
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_configure,
    help="YAML, TOML or JSON with any of these options; the command line overrides it.",
)


class Choice(click.ParamType):
    """One of the names in a table; others are refused by the request."""

    name = "choice"

    def __init__(self, names: Collection[str]) -> None:
        self.names = names

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The names, in the help."""
        return f"[{'|'.join(self.names)}]"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin so."""
        return [CompletionItem(name) for name in self.names if name.startswith(incomplete)]


KINDS: dict[type, click.ParamType] = {int: click.INT, float: click.FLOAT, str: click.STRING}


def _click_option(each: Option, *, with_default: bool = True) -> Callable[[Command], Command]:
    """An option of the command line, from what a request's class says of it.

    Args:
        with_default: without one, what was not given is None, and the request (or a target) says what that means.
    """
    declared = each.declared
    settings: dict[str, Any] = {
        "cls": HeadedOption,
        "heading": declared.heading,
        "help": declared.help,
        "callback": _checks(each),
    }
    flag = f"--{each.spelled}"
    if each.kind is bool:
        usual = each.spelled if each.default else f"no-{each.spelled}"
        return click.option(
            f"{flag}/--no-{each.spelled}",
            default=each.default if with_default else None,
            show_default=True if with_default else usual,
            **settings,
        )
    if each.kind is tuple and each.item is str:
        several = Choice(declared.choices) if declared.choices else click.STRING
        return click.option(flag, multiple=True, type=several, metavar=declared.metavar, **settings)
    kind: click.ParamType = NumberList() if each.kind is tuple else KINDS[each.item]
    if declared.choices:
        kind = Choice(declared.choices)
    default = ",".join(map(str, each.default)) if isinstance(each.default, tuple) else each.default
    shown: str | bool | None = declared.shown_default if each.default is None else True
    if not with_default and each.default is not None:
        default, shown = None, str(default)
    return click.option(
        flag, default=default, type=kind, show_default=shown or False, metavar=declared.metavar, **settings
    )


def _checks(each: Option) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A value that is none is refused before anything is loaded."""

    def check(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is not None:
            each.check(value)
        return value

    return check


def options_from(request: type, *names: str, with_defaults: bool = True) -> Callable[[Command], Command]:
    """Those of a request's options that are named (all, where none is), in the order of its class."""

    def add(command: Command) -> Command:
        for each in reversed([each for each in options_of(request) if not names or each.name in names]):
            command = _click_option(each, with_default=with_defaults)(command)
        return command

    return add


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout, nothing else.")
overwrite_option = click.option(
    "--overwrite",
    is_flag=True,
    help="Replace what is in DIR; results of another request are refused otherwise.",
)
data_option = click.option(
    "--data", required=True, type=SPEC, metavar="SPEC", help="Data, kind:path?key=value (docs/data.md)."
)
per_channel_option = click.option(
    "--per-channel",
    is_flag=True,
    cls=HeadedOption,
    heading=NOISE,
    help="With --noise: an energy per output channel.",
)
calibration_option = click.option(
    "--calibration",
    type=FILE,
    metavar="FILE",
    cls=HeadedOption,
    heading=MACHINE,
    help="Reuse a calibration.json of this model; with --noise, where it is quantized first.",
)
validation_option = click.option(
    "--validation",
    type=SPEC,
    metavar="SPEC",
    cls=HeadedOption,
    heading=MACHINE,
    help="Data to choose by; default: a quarter of --data, drawn by --seed.",
)


def workers_options(command: Command) -> Command:
    """Who does the work, where there are several pieces of it."""
    jobs = click.option("--jobs", default=1, show_default=True, help="Processes of this machine.")
    cluster = click.option(
        "--cluster",
        metavar="ADDRESS|FILE",
        help="A dask cluster that runs: tcp://HOST:PORT, or its scheduler file (docs/cluster.md).",
    )
    return jobs(cluster(command))


def allocation_options(command: Command) -> Command:
    """All that can be said of an allocation, of bits or of energies, beside its budgets and where it goes."""
    for each in reversed(option_values.allocation_options().values()):
        command = _click_option(each, with_default=False)(command)
    for option in (per_channel_option, calibration_option, validation_option):
        command = option(command)
    return command
