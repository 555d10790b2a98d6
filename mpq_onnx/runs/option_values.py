"""From options by name, as a command line, a configuration or a sweep gives them, to the requests that they make."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mpq_onnx.arithmetic.quantization import ASYMMETRIC
from mpq_onnx.errors import UsageError
from mpq_onnx.registries import CHANNEL, LAYER
from mpq_onnx.runs.declared import Option, options_of
from mpq_onnx.runs.energy_options import EnergyOptions
from mpq_onnx.runs.learning_options import LEARNING_OPTIONS
from mpq_onnx.runs.options import AllocateOptions
from mpq_onnx.runs.target_options import check_given

OF_BOTH = ("effort", "seed", "device", "target")
"""Learning options that the widths below an energy allocation take too; the others mean the energies."""
PER_CHANNEL = "per_channel"
"""Of energies; `granularity` is that of the widths."""


def allocation_options() -> dict[str, Option]:
    """All that can be said of an allocation, of bits or of energies, by name; `granularity` is that of the widths."""
    return {each.name: each for request in (EnergyOptions, AllocateOptions) for each in options_of(request)}


KNOWN = frozenset({PER_CHANNEL, *allocation_options()})


def bits_request(options: Mapping[str, Any]) -> AllocateOptions:
    """Of an allocation without noise.

    Raises:
        UsageError: an option that says something of noise alone, or a value that is none.
    """
    own = [each.name for each in options_of(AllocateOptions)]
    alone = [
        (each.spelled, each.default, options.get(each.name))
        for each in options_of(EnergyOptions)
        if each.name not in own
    ]
    for spelled, default, value in [*alone, ("per-channel", False, options.get(PER_CHANNEL))]:
        if value is not None and value != default:
            raise UsageError(f"--{spelled} goes with --noise; give --noise thermal, shot or weight")
    given = _given(options, own)
    check_given(given, analog=False)
    return AllocateOptions(**given)


def bits_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that say something of widths: a sweep's may stand beside others, for its runs with noise."""
    own = {each.name for each in options_of(AllocateOptions)}
    return {name: value for name, value in options.items() if name in own}


def noisy_requests(options: Mapping[str, Any]) -> tuple[EnergyOptions, AllocateOptions]:
    """Of the energies, and of the widths that a float model gets before."""
    energies = [each.name for each in options_of(EnergyOptions) if each.name != "granularity"]
    widths = [
        each.name
        for each in options_of(AllocateOptions)
        if each.name in OF_BOTH or each.name not in LEARNING_OPTIONS
    ]
    granularity = CHANNEL if options.get(PER_CHANNEL) else LAYER
    of_energies, of_widths = _given(options, energies), _given(options, widths)
    check_given(of_energies, analog=True)
    check_given(of_widths, analog=False)
    if of_widths.get("target") is None:  # noise grows with the range of a weight, and no int8 kernel reads it
        of_widths.setdefault("weight_scheme", ASYMMETRIC)
    return (
        EnergyOptions(**of_energies, granularity=granularity),
        AllocateOptions(**of_widths),
    )


def width_options_given(widths: AllocateOptions) -> list[str]:
    """How options are spelled that say something of widths, and that are not as noisy_requests leaves them."""
    same = {name: getattr(widths, name) for name in OF_BOTH}
    plain = AllocateOptions(**same)
    return [
        each.spelled
        for each in options_of(AllocateOptions)
        if each.name not in (*same, "weight_scheme")
        and getattr(widths, each.name) != getattr(plain, each.name)
    ]


def energy_options_by_name(options: EnergyOptions, digital: AllocateOptions | None) -> dict[str, Any]:
    """What makes the same requests again (see noisy_requests); `digital` None where a quantized model was given."""
    named = dataclasses.asdict(options)
    by_channel = named.pop("granularity") == CHANNEL
    widths = {} if digital is None else dataclasses.asdict(digital)
    return {**widths, **named, PER_CHANNEL: by_channel}


def _given(options: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Those that were given; the others keep their defaults."""
    found = {name: options[name] for name in names if options.get(name) is not None}
    if isinstance(found.get("noise"), str):
        found["noise"] = (found["noise"],)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
