"""What a target makes of the options of a run: what it leaves no choice in is taken, what it forbids is refused."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from mpq_onnx.errors import AllocationError, UsageError
from mpq_onnx.registries import WEIGHT_SCALES
from mpq_onnx.targets.description import (
    ANALOG_NAMES,
    OPTIONS,
    Statement,
    Target,
    is_for_all,
    listed,
    same_width,
)
from mpq_onnx.targets.loading import load_target

if TYPE_CHECKING:
    from mpq_onnx.documents.allocation import Settings
    from mpq_onnx.documents.energy_allocation import EnergySettings

CHOICES = {"bit_choices": ("weights",), "activation_bit_choices": ("inputs", "outputs")}
"""Options of widths, and the sides of rules that say which there are."""
GRIDS = {"weight_scheme": "scheme", "weight_scales": "scales"}
"""Options of weights, and what rules call them."""
AS_BYTES = "int8"
"""The storage that is taken where the device has no other."""
RULED = (*CHOICES, *GRIDS)
"""Options that a target's rules are about."""


def take(options: Any, names: Sequence[str], target: Target) -> None:
    """Set those of a request's options that the target does not take as they are by default; refuse others.

    Raises:
        UsageError: a value that the target forbids; the message names the line.
    """
    analog = names is ANALOG_NAMES
    defaults = {each.name: each.default for each in fields(options)}
    for name in names:
        value = getattr(options, name)
        allowed = _statement(target, name, analog)
        # Widths of the default's own object were not given: those of the device stand for them, more or fewer.
        not_given = name in CHOICES and value is defaults[name]
        if allowed is None or (_is_allowed(allowed, name, value) and not not_given):
            continue
        if value != defaults[name]:
            _refuse(name, value, allowed, target)
        object.__setattr__(options, name, _first(target, name, allowed))


def check_given(given: Mapping[str, Any], *, analog: bool) -> None:
    """Raise UsageError for an option that was given, though it be the default, and that the target given beside it forbids.

    Args:
        given: options by name, of an allocation of bits, or of energies (`analog`).
    """
    if given.get("target") is None:
        return
    target = load_target(given["target"])
    for name in ANALOG_NAMES if analog else (*OPTIONS, *RULED):
        value = given.get(name)
        allowed = None if value is None or value == () else _statement(target, name, analog)
        if allowed is not None and not _is_allowed(allowed, name, value):
            _refuse(name, value, allowed, target)


def storage_for(target: Target | None, storage: str | None) -> str:
    """How integers lie in a file for a device; `storage` where that was asked for.

    Raises:
        UsageError: the target forbids it.
    """
    allowed = None if target is None else target.option("storage")
    if allowed is None or target is None:
        return storage or AS_BYTES
    if storage is not None and not allowed.allows(storage):
        _refuse("storage", storage, allowed, target)
    return storage or (AS_BYTES if allowed.allows(AS_BYTES) else str(allowed.values[0]))


def check_settings(target: Target | None, settings: "Settings", where: str) -> None:
    """Raise AllocationError for settings of an allocation of bits that the target forbids."""
    if target is not None:
        _check_kept(target, {name: target.option(name) for name in OPTIONS}, settings, where)


def check_energy_settings(target: Target | None, settings: "EnergySettings", where: str) -> None:
    """The same for one of energies."""
    if target is not None:
        _check_kept(target, {name: target.analog_option(name) for name in ANALOG_NAMES}, settings, where)


def _check_kept(target: Target, said: Mapping[str, Statement | None], settings: Any, where: str) -> None:
    for name, allowed in said.items():
        value = getattr(settings, name, None)
        if allowed is not None and value is not None and not _is_allowed(allowed, name, value):
            shown = listed(value) if isinstance(value, tuple) else value
            raise AllocationError(
                f"{where}: settings/{name} {shown}: target {target.name} does not take that: {allowed}"
            )


def noise_of_target(name: str | None) -> tuple[str, ...]:
    """The noise models of a device; none without one, and for one that computes exactly."""
    said = None if name is None else load_target(name).analog_option("noise")
    return () if said is None else said.values


def named_widths(target: Target, *sides: str) -> tuple[float, ...]:
    """All widths that rules name, float aside."""
    found = {width for side in sides for _, said in target.all_said(side, "bits") for width in said.values}
    return tuple(sorted(width for width in found if math.isfinite(width)))


def _statement(target: Target, name: str, analog: bool) -> Statement | None:
    """What the target leaves of an option; None where it leaves all."""
    if analog:
        return target.analog_option(name)
    if name in CHOICES:
        return _of_rules(target, CHOICES[name], "bits", lambda value: math.isfinite(value))
    if name in GRIDS:
        return _of_rules(target, ("weights",), GRIDS[name], lambda value: True)
    return target.option(name)


def _of_rules(
    target: Target, sides: Iterable[str], what: str, counts: Callable[[Any], bool]
) -> Statement | None:
    """What any rule allows, at the line of the last that is for all operators; None where no rule is."""
    said = [each for side in sides for each in target.all_said(side, what)]
    for_all = [statement for rule, statement in said if is_for_all(rule)]
    if not for_all:
        return None
    values = dict.fromkeys(
        value
        for each in (for_all[-1], *(statement for _, statement in said))
        for value in each.values
        if counts(value)
    )
    return Statement(tuple(values), for_all[-1].place, for_all[-1].spelled)


def _is_allowed(allowed: Statement, name: str, value: Any) -> bool:
    if value is None:
        return False  # stands for other options, which the target does not know of
    if isinstance(value, tuple):
        return all(any(_same(each, one) for one in allowed.values) for each in value)
    return allowed.allows(value)


def _same(one: Any, other: Any) -> bool:
    return one == other if isinstance(one, str) else same_width(one, other)


def _first(target: Target, name: str, allowed: Statement) -> Any:
    """What the target has in the place of a default."""
    if name in CHOICES:
        return tuple(sorted(allowed.values))
    if name == "weight_scales":
        return next((each for each in allowed.values if each in WEIGHT_SCALES), WEIGHT_SCALES[0])
    if name == "noise":
        return allowed.values
    if not allowed.values:
        raise UsageError(f"{target.name}: {allowed} leaves no --{name.replace('_', '-')}")
    return allowed.values[0]


def _refuse(name: str, value: Any, allowed: Statement, target: Target) -> None:
    shown = listed(value) if isinstance(value, tuple) else value
    raise UsageError(
        f"--{name.replace('_', '-')} {shown}: target {target.name} does not take that: {allowed}; leave the option out, or give"
        " another target"
    )
