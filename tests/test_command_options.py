"""The options of the command line: those of the typed requests, with their defaults, under headings."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from test_cli import assert_one_line, run_inside

import mpq_onnx
from mpq_onnx.arithmetic.quantization import WEIGHT_SCHEMES
from mpq_onnx.cli import cli, main
from mpq_onnx.commands.groups import HEADINGS
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


def test_every_command_speaks_json_and_takes_v_and_q() -> None:
    for name in cli.commands:
        flags = {flag for each in cli.get_command(None, name).params for flag in each.opts}
        assert {"--json", "-v", "-q"} <= flags, name


def test_the_list_of_commands_is_grouped_and_says_what_each_says_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert [text.index(f"\n{heading}:") for heading in HEADINGS] == sorted(
        text.index(f"\n{heading}:") for heading in HEADINGS
    )
    for commands in HEADINGS.values():
        for name, line in commands.items():
            own = (cli.get_command(None, name).help or "").partition("\n\n")[0]
            assert " ".join(own.split()) == line, name
            assert f"\n  {name} " in text


def completed(*words: str, incomplete: str = "") -> list[tuple[str, str]]:
    """(type, value) of what bash is offered."""
    items = BashComplete(cli, {}, "mpq-onnx", "_MPQ_ONNX_COMPLETE").get_completions([*words], incomplete)
    return [(each.type, each.value) for each in items]


def test_shells_complete_commands_options_choices_kinds_and_files() -> None:
    assert completed(incomplete="ev") == [("plain", "evaluate")]
    assert ("plain", "--observer") in completed("allocate", incomplete="--obs")
    assert completed("allocate", "m.onnx", "--method", incomplete="wat") == [("plain", "water-filling")]
    assert completed("handoff", "m.onnx", "--to", incomplete="qc") == [("plain", "qcdq")]
    assert completed("card", incomplete="mod") == [("file", "mod")]
    assert completed("allocate", "m.onnx", "-o", incomplete="ou") == [("dir", "ou")]
    assert completed("evaluate", "m.onnx", "--data", incomplete="imagef") == [
        ("plain", "imagefolder:"),
        ("file", "imagef"),
    ]
    assert completed("evaluate", "m.onnx", "--data", incomplete="dig")[0] == ("plain", "digits")


def test_the_documented_line_sets_completion_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "command_line.md").read_text()
    for shell in ("bash", "zsh", "fish"):
        assert f"_MPQ_ONNX_COMPLETE={shell}_source mpq-onnx" in page
    monkeypatch.setenv("_MPQ_ONNX_COMPLETE", "zsh_source")
    with pytest.raises(SystemExit) as leaving:
        main([])
    assert leaving.value.code == 0 and "compdef" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.yaml", "weight-bits: 4\nweight_bits: 5\n", "weight-bits stands there as weight_bits too"),
        ("c.toml", "weight-bits = 4\nweight_bits = 5\n", "weight-bits stands there as weight_bits too"),
        ("c.json", '{"weight_bits": 4, "weight-bits": 4}', "weight-bits stands there as weight_bits too"),
        ("c.yaml", "weight-bits: 4\nseed: 1\nweight-bits: 5\n", "weight-bits stands there twice"),
        ("c.json", '{"weight-bits": 4, "weight-bits": 5}', "weight-bits stands there twice"),
        ("c.toml", "weight-bits = 4\nweight-bits = 5\n", "c.toml"),
        ("c.yaml", "o: here\noutput: there\n", "output and o are the same option"),
    ],
)
def test_an_option_stands_in_a_configuration_once(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    given = ("--data", "random", "-o", tmp_path / "out", "--config", tmp_path / name)
    assert_one_line(run_inside("allocate", "m.onnx", *given), 2, f"--config {tmp_path / name}", said)


def test_an_option_stands_in_a_case_of_a_sweep_once(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("data: random\ncases:\n  - weight-bits: 4\n    weight_bits: 5\n")
    refused = run_inside("sweep", "m.onnx", "--config", tmp_path / "s.yaml", "-o", tmp_path / "out")
    assert_one_line(refused, 2, "cases: weight-bits stands there as weight_bits too")
