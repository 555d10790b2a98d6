"""The command line. Exit codes: 0 fine, 1 a gate failed, 2 wrong usage, 3 unusable input."""

import logging
import os
import sys
from collections.abc import Sequence

import click

import mpq_onnx
from mpq_onnx.commands.exit_codes import INTERRUPTED
from mpq_onnx.commands.groups import Commands
from mpq_onnx.commands.verbosity import verbosity_options
from mpq_onnx.errors import LostRankError, MpqOnnxError
from mpq_onnx.packages import missing_package
from mpq_onnx.progress import stage_lines
from mpq_onnx.runs.joining import check_command, is_spokesman, leave_word_to_another

GOES_ON = {
    "allocate": "; the same command with --resume goes on",
    "search": "; the same command goes on",
    "sweep": "; the same command goes on",
    "profile": "; the same command goes on",
}
"""What to do with an interrupted command."""


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
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        click.echo(f"mpq-onnx: {missing}", err=True)
        sys.exit(missing.exit_code)
    except (KeyboardInterrupt, click.Abort):
        if not is_spokesman(os.environ):
            sys.exit(INTERRUPTED)
        given = sys.argv[1:] if arguments is None else arguments
        command = next((each for each in given if not each.startswith("-")), "")
        click.echo(
            f"mpq-onnx: interrupted; nothing that existed was changed{GOES_ON.get(command, '')}", err=True
        )
        sys.exit(INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(mpq_onnx.__version__, prog_name="mpq-onnx")
@click.pass_context
def cli(context: click.Context) -> None:
    """Mixed precision for ONNX: find the precision every node needs, and write an ONNX file that runs.

    Exit codes: 0 fine, 1 a gate failed or nothing was found, 2 wrong usage, 3 unusable model, data or allocation, 130
    interrupted.
    """
    try:
        check_command(str(context.invoked_subcommand), os.environ)
    except MpqOnnxError as error:
        if not is_spokesman(os.environ):
            leave_word_to_another()
            sys.exit(error.exit_code)
        raise


verbosity_options(cli)

if __name__ == "__main__":
    main()


__all__ = ["cli", "main"]
