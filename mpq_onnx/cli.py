"""The command line. Exit codes: 0 fine, 1 a gate failed, 2 wrong usage, 3 unusable input."""

import logging
import os
import sys
from collections.abc import Sequence

import click

import mpq_onnx
from mpq_onnx.commands.allocate import allocate
from mpq_onnx.commands.apply import apply
from mpq_onnx.commands.calibrate import calibrate
from mpq_onnx.commands.card import card
from mpq_onnx.commands.compare import compare
from mpq_onnx.commands.convert import convert
from mpq_onnx.commands.evaluate import evaluate
from mpq_onnx.commands.exit_codes import INTERRUPTED
from mpq_onnx.commands.export import export
from mpq_onnx.commands.handoff import handoff
from mpq_onnx.commands.models import models
from mpq_onnx.commands.profile import profile
from mpq_onnx.commands.report import report
from mpq_onnx.commands.search import search
from mpq_onnx.commands.sweep import sweep
from mpq_onnx.commands.targets import targets
from mpq_onnx.errors import LostRankError, MpqOnnxError
from mpq_onnx.progress import stage_lines
from mpq_onnx.runs.joining import check_command, is_spokesman, leave_word_to_another

COMMANDS = (
    export, models, calibrate, allocate, apply, evaluate, compare, search, convert, card, handoff, profile, sweep,
    report, targets,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; every error of the user's ends in one line on stderr."""
    logging.getLogger().addHandler(logging.NullHandler())  # libraries log what is then raised, and said once
    try:
        with stage_lines():
            status = cli.main(args=arguments, prog_name="mpq-onnx", standalone_mode=False)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        if not is_spokesman(os.environ):
            leave_word_to_another()
            sys.exit(error.exit_code)
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "mpq-onnx"
        click.echo(f"mpq-onnx: {error.format_message()} (see {command} --help)", err=True)
        sys.exit(error.exit_code)
    except (MpqOnnxError, LostRankError) as error:
        click.echo(f"mpq-onnx: {error}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        if not is_spokesman(os.environ):
            sys.exit(INTERRUPTED)
        given = sys.argv[1:] if arguments is None else arguments
        goes_on = {"allocate": "; the same with --resume goes on", "profile": "; the same goes on"}.get(
            given[0] if given else "", ""
        )
        click.echo(f"mpq-onnx: interrupted; nothing that existed was changed{goes_on}", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(mpq_onnx.__version__, prog_name="mpq-onnx")
@click.pass_context
def cli(context: click.Context) -> None:
    """Mixed precision for ONNX: find the precision every node needs, and write an ONNX file that runs."""
    try:
        check_command(str(context.invoked_subcommand), os.environ)
    except MpqOnnxError as error:
        if not is_spokesman(os.environ):
            leave_word_to_another()
            sys.exit(error.exit_code)
        raise


for command in COMMANDS:
    cli.add_command(command)

if __name__ == "__main__":
    main()


__all__ = ["cli", "main"]
