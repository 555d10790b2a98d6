"""Write commands.md: every command with its options, as the command line has them.

python docs/make_commands.py
"""

import inspect
from pathlib import Path

import click
from tabulate import tabulate

from mpq_onnx.cli import cli
from mpq_onnx.commands.verbosity import LEVELS
from mpq_onnx.runs.option_values import allocation_options

PAGE = Path(__file__).with_name("commands.md")
INTRODUCTION = """# Commands

Made by `docs/make_commands.py` from the command line itself; `mpq-onnx COMMAND --help` says the same. `--json` prints one JSON
object on stdout and nothing else; `-v` and `-q`, which every command takes, tell more or less. Exit codes: 0 fine, 1 a gate
failed, 2 wrong usage, 3 unusable model, data or allocation, 130 interrupted.
"""
OF_ALLOCATIONS = "\nAnd all [options of an allocation](options.md).\n"


def page() -> str:
    """The whole page."""
    return INTRODUCTION + "".join(_section(name, command) for name, command in sorted(cli.commands.items()))


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"mpq-onnx {name}")
    shared = allocation_options().keys()
    allocates = shared <= {str(each.name) for each in command.params}
    left_out = {*LEVELS, *(shared if allocates else ())}  # what all take stands above
    own = [each for each in command.params if each.name not in left_out]
    records = [each.get_help_record(context) for each in own if isinstance(each, click.Option)]
    rows = [[f"`{_cell(flags)}`", _cell(said)] for flags, said in filter(None, records)]
    usage = " ".join(command.collect_usage_pieces(context))
    table = tabulate(rows, ["option", ""], tablefmt="github", disable_numparse=True)
    text = inspect.cleandoc(command.help or "").replace("\b\n", "")
    return f"\n## {name}\n\n`mpq-onnx {name} {usage}`\n\n{text}\n\n{table}\n{OF_ALLOCATIONS if allocates else ''}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
