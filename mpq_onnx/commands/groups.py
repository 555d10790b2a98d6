"""What the commands do in a line each, under headings, so that the list of them is there before any is imported."""

from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem

from mpq_onnx.commands.verbosity import takes_verbosity, verbosity_options
from mpq_onnx.registry import Registry

HEADINGS: Mapping[str, Mapping[str, str]] = {
    "Models": {
        "export": "Write SOURCE as canonical float ONNX.",
        "models": "List the models that export knows by name; PATTERN keeps those that contain it.",
        "inspect": "Say what MODEL is, and what of it can be quantized, before any data.",
    },
    "Precision": {
        "allocate": "Spend a budget where MODEL needs it: bits of weights and activations, or energy per MAC under"
        " physical noise.",
        "search": "Find the smallest budget at which MODEL still reaches a metric: of weight bits or another resource, or with"
        " --noise of energy per MAC.",
        "sweep": "Allocate MODEL for every combination of lists of options, budgets, noise models and seeds.",
        "calibrate": "Measure the activation ranges of MODEL.",
        "apply": "Quantize MODEL as ALLOCATION (allocation.json) says, or make it noisy (energy.json).",
        "convert": "Make a digital allocation of a noisy MODEL, for apply.",
    },
    "Results": {
        "evaluate": "Measure MODEL, float, quantized or noisy, on data.",
        "compare": "Compare two files of a network by node.",
        "card": "Print the quantization card of MODEL, whoever made it; with OTHER, what the two do not share.",
        "report": "Write one self-contained HTML page of what allocate or sweep left in FOLDER; or a picture of a file's"
        " graph.",
    },
    "Devices": {
        "targets": "List the targets that --target knows by name; with TARGET, a name or a file, say what that device takes.",
        "profile": "Write what every multiply-accumulate of MODEL takes at every precision: latency and energy, by layer.",
        "handoff": "Write MODEL in the format of another tool (docs/handoff.md), with golden tensors and the card.",
    },
}  # fmt: skip
"""The first paragraph of each command's own help. A command is a module in mpq_onnx.commands, and a function of that name in
it."""


class Commands(click.Group):
    """The commands, each imported when it is asked for."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        names = [name for commands in HEADINGS.values() for name in commands]
        self.commands = Registry("mpq_onnx.commands", {name: f"{name}:{name}" for name in names})

    def list_commands(self, context: click.Context) -> list[str]:
        """All names, in the order of the headings."""
        return list(self.commands)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command, which takes -v and -q as all do."""
        command = self.commands.get(name)
        if command is not None and not takes_verbosity(command):
            verbosity_options(command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """A section a heading, all of one width."""
        width = max(map(len, self.commands))
        for heading, commands in HEADINGS.items():
            with formatter.section(heading):
                formatter.write_dl([(f"{name:{width}}", text) for name, text in commands.items()])

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands that begin so, without importing them, and the options of the group."""
        found = [
            CompletionItem(name, help=text)
            for commands in HEADINGS.values()
            for name, text in commands.items()
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, context, incomplete)]
