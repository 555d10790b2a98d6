"""The options of the command line: those of the typed requests, with their defaults, under headings."""

import dataclasses
from collections.abc import Iterable

import pytest

import mpq_onnx
from mpq_onnx.arithmetic.quantization import WEIGHT_SCHEMES
from mpq_onnx.cli import cli, main
from mpq_onnx.registries import (
    ENERGY_LEVELS,
    EQUALIZATIONS,
    METHODS,
    NOISE_MODELS,
    OBSERVERS,
    PLACEMENTS,
    ROUNDINGS,
    STORAGES,
    WEIGHT_OBSERVERS,
)


def test_the_command_line_has_the_defaults_and_names_the_choices_of_its_requests() -> None:
    """Every option of an allocation, of bits or energies, can be given on the command line, of allocate and search alike."""
    required = ["model", "--data", "data", "-o", "folder"]
    for name, more in (("allocate", []), ("search", ["--test", "data", "--min", "top1=0.9"])):
        defaults = cli.commands[name].make_context(name, [*required, *more]).params
        for request, left_out in (
            (mpq_onnx.AllocateOptions(), set()),
            (mpq_onnx.EnergyOptions(("shot",)), {"noise", "granularity"}),
        ):
            for field in dataclasses.fields(request):
                if field.name not in left_out:
                    assert defaults[field.name] in (getattr(request, field.name), None), field.name


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("method", METHODS), ("noise", NOISE_MODELS), ("observer", OBSERVERS), ("weight_observer", WEIGHT_OBSERVERS),
        ("placement", PLACEMENTS), ("equalization", EQUALIZATIONS), ("rounding", ROUNDINGS), ("weight_scheme", WEIGHT_SCHEMES),
        ("storage", STORAGES), ("energy_levels", ENERGY_LEVELS),
    ],
)  # fmt: skip
def test_choices_are_shown_and_completed(option: str, choices: Iterable[str]) -> None:
    context = cli.commands["allocate"].make_context("allocate", [], resilient_parsing=True)
    (found,) = (each for each in context.command.params if each.name == option)
    record = found.get_help_record(context)
    assert record is not None and f"[{'|'.join(choices)}]" in record[0]
    first = next(iter(choices))
    completed = [each.value for each in found.type.shell_complete(context, found, first[:2])]
    assert first in completed and all(each.startswith(first[:2]) for each in completed)


def test_help_lists_the_options_under_headings(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("allocate", "search"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        places = [
            text.index(f"\n{heading}:\n")
            for heading in ("Options", "Method", "Noise", "Quantizers", "Rounding")
        ]
        assert places == sorted(places)
        assert text.index("--observer") > text.index("\nQuantizers:") > text.index("--granularity")
