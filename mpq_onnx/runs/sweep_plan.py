"""Which runs a sweep's configuration asks for: every combination of its lists, checked before anything heavy is loaded."""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mpq_onnx.errors import UsageError
from mpq_onnx.runs import option_values
from mpq_onnx.runs.configuration import check_names, with_underscores
from mpq_onnx.runs.energy_options import check_energy_budget
from mpq_onnx.runs.option_values import bits_options, bits_request, noisy_requests
from mpq_onnx.runs.options import asked_budgets, check_budgets
from mpq_onnx.runs.shared_keys import calibration_choices, problem_key
from mpq_onnx.runs.target_options import noise_of_target

CASES = "cases"
DATA_OPTIONS = ("data", "validation", "test")
BUDGETS = ("weight_bits", "activation_bits", "energy_per_mac")
LISTS = frozenset({"bit_choices", "activation_bit_choices", "noise", "override", "exclude", "max"})
"""Options whose value is a list itself: a list of lists runs over several."""
KNOWN = frozenset({CASES, *DATA_OPTIONS, *BUDGETS, *option_values.KNOWN})


@dataclass(frozen=True)
class Run:
    """One allocation."""

    name: str
    options: Mapping[str, Any]
    """All that the configuration says, one value an option."""

    @property
    def likeness(self) -> str:
        """The same for runs that calibrate and measure costs alike."""
        own: tuple[object, ...] = ()
        if self.options.get("noise"):
            energies, widths = noisy_requests(self.options)
            own = (energies.noises, energies.granularity, energies.compat, self.options.get("weight_bits"))
        else:
            widths = bits_request(bits_options(self.options))
        data = tuple(self.options.get(name) for name in DATA_OPTIONS)
        return repr((data, own, calibration_choices(widths), problem_key(widths)))


def runs_of(configuration: Mapping[str, Any]) -> Iterator[Run]:
    """Every combination, checked.

    Raises:
        UsageError: see sweep.
    """
    if not isinstance(configuration, Mapping):
        raise UsageError(
            f"the sweep's configuration {type(configuration).__name__}: give a dict of options by name"
        )
    cases = configuration.get(CASES, [{}])
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise UsageError("cases: write a list of tables of options")
    base = {name: value for name, value in configuration.items() if name != CASES}
    seen = set()
    number = 0
    for case in cases:
        merged = {**base, **with_underscores(case, "cases")}
        check_names(merged, KNOWN, "the sweep's configuration")
        if "data" not in merged:
            raise UsageError("the sweep's configuration: give data, a data spec such as npz:train.npz")
        for values in itertools.product(*(_values(name, value) for name, value in merged.items())):
            options = _with_noise(dict(zip(merged, values, strict=True)))
            key = json.dumps(options, sort_keys=True)
            if key in seen:
                continue
            seen.add(key)
            number += 1
            _check(options)
            yield Run(f"{number:04d}", options)


def _with_noise(options: dict[str, Any]) -> dict[str, Any]:
    """Where there is a budget of energy and no noise is named, that of the target."""
    if options.get("noise") or options.get("energy_per_mac") is None:
        return options
    noise = noise_of_target(options.get("target"))
    return {**options, "noise": list(noise)} if noise else options


def _values(name: str, value: Any) -> list[Any]:
    """What an option runs over."""
    if name in DATA_OPTIONS and not all(
        isinstance(each, str) for each in (value if isinstance(value, list) else [value]) if each is not None
    ):
        raise UsageError(
            f"{name}: a sweep takes data specs alone, which every process of it can open; save arrays with numpy.savez"
        )
    nested = isinstance(value, list) and (name not in LISTS or any(isinstance(each, list) for each in value))
    if nested and not value:
        raise UsageError(f"{name.replace('_', '-')}: an empty list leaves nothing to run")
    return value if nested else [value]


def _check(options: Mapping[str, Any]) -> None:
    """Raise UsageError for values that allocate would refuse."""
    budgets = options.get("weight_bits"), options.get("activation_bits")
    try:
        if not options.get("noise"):
            request = bits_request(bits_options(options))
            check_budgets(*asked_budgets(*budgets, request), request)
            return
        energies, widths = noisy_requests(options)
        check_energy_budget(options.get("energy_per_mac"), energies)
        if any(budget is not None for budget in budgets):
            check_budgets(*budgets, widths)
    except TypeError as error:  # a value of another type than the option's
        raise UsageError(f"the sweep's configuration: {error}, in {json.dumps(dict(options))}") from error
