"""Arguments of public functions held to their annotations, so that a slip ends in a line and not inside the work."""

import functools
import inspect
import os
import types
import typing
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

from mpq_onnx.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")
SIMPLE: dict[Any, tuple[type, ...]] = {
    int: (Integral,),
    float: (Real,),
    str: (str,),
    bool: (bool,),
    os.PathLike: (os.PathLike,),
    types.NoneType: (types.NoneType,),
}
"""What values of an annotation are; numpy's numbers are numbers."""
NAMES = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "True or False",
    os.PathLike: "a path",
}
LARGEST_SEED = 2**31 - 1
"""Steps of training have seeds of their own, 2**32 to each of these, in 64 bits."""
SHOWN = 60
"""Characters of a value in a message."""


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, which raises UsageError for an argument that is not what its annotation says.

    Numbers, texts, paths, truth values and the package's own options are looked at; what takes more forms (models, data) says
    itself what it does not take.
    """

    @functools.cache
    def annotated() -> tuple[inspect.Signature, dict[str, Any]]:
        return inspect.signature(function), typing.get_type_hints(function)

    @functools.wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        signature, hints = annotated()
        try:
            bound = signature.bind(*arguments, **named)
        except TypeError as error:
            raise UsageError(f"{function.__name__}: {error}") from error
        for name, value in bound.arguments.items():
            if name in hints:
                _check(function.__name__, name, value, hints[name])
        return function(*arguments, **named)

    return call


def check_seed(seed: int) -> None:
    """Raise UsageError for a seed that not all generators take."""
    if not 0 <= seed <= LARGEST_SEED:
        raise UsageError(f"seed {seed}: must be at least 0, and at most {LARGEST_SEED}")


def _check(where: str, name: str, value: Any, hint: Any) -> None:
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    kinds = [typing.get_origin(each) or each for each in members]
    if not all(kind in SIMPLE or _is_own(kind) for kind in kinds):
        return
    allowed = tuple(each for kind in kinds for each in SIMPLE.get(kind, (kind,)))
    is_truth = isinstance(value, bool) and bool not in kinds
    if isinstance(value, allowed) and not is_truth:
        return
    wanted = [
        NAMES.get(kind, getattr(kind, "__name__", str(kind))) for kind in kinds if kind is not types.NoneType
    ]
    shown = repr(value)
    raise UsageError(
        f"{where}: {name}={shown if len(shown) <= SHOWN else type(value).__name__}: give {' or '.join(wanted)}"
    )


def _is_own(kind: Any) -> bool:
    return isinstance(kind, type) and kind.__module__.startswith("mpq_onnx.")
