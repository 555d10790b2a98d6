"""Polynomials over tensors: one normal form for the many ways in which exporters write the same formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

MOST_TERMS = 24
RELATIVE_TOLERANCE = 1e-4
"""Of constants such as sqrt(2) and 1/6, which exporters write with four to eight digits."""


class TooComplexError(Exception):
    """More terms than any composite has, or an arrangement of axes that cannot be followed."""


@dataclass(frozen=True)
class Moment:
    """Mean over `axes` of the `power`-th power of the tensor that a rule looks at."""

    power: int
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Function:
    """`name` applied to a polynomial. "Group" is the identity, around a sum that something is divided by."""

    name: str
    argument: Polynomial


Atom = ir.Value | Moment | Function
Monomial = frozenset[tuple[Atom, int]]
"""Atoms with their exponents, which may be negative."""
ONE: Monomial = frozenset()


@dataclass(frozen=True, eq=False)
class Polynomial:
    """Sum of coefficient * monomial; coefficients are constants, float64, scalars or arrays that broadcast.

    Attributes:
        layout: shape of the tensor where it is not laid out as the tensor that a rule looks at (a mean without the axes that
            it ran over); None where it is, or is a scalar.
    """

    terms: Mapping[Monomial, np.ndarray]
    layout: tuple[object, ...] | None = None
    key: tuple[object, ...] = field(init=False)

    def __post_init__(self) -> None:
        content = frozenset((each, value.shape, value.tobytes()) for each, value in self.terms.items())
        object.__setattr__(self, "key", (content, self.layout))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Polynomial) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __add__(self, other: Polynomial) -> Polynomial:
        sums = dict(self.terms)
        for monomial, value in other.terms.items():
            sums[monomial] = sums[monomial] + value if monomial in sums else value
        return _bounded(sums, _common_layout(self, other))

    def __mul__(self, other: Polynomial) -> Polynomial:
        products: dict[Monomial, np.ndarray] = {}
        for left, a in self.terms.items():
            for right, b in other.terms.items():
                monomial = _times(left, right)
                products[monomial] = products[monomial] + a * b if monomial in products else a * b
        return _bounded(products, _common_layout(self, other))

    def scaled(self, factor: float) -> Polynomial:
        return Polynomial({each: value * factor for each, value in self.terms.items()}, self.layout)

    def inverse(self) -> Polynomial:
        """1 / self: exponents change sign where there is one term; a sum becomes one "Group"."""
        if len(self.terms) != 1:
            return Polynomial({frozenset({(Function("Group", self), -1)}): np.array(1.0)}, self.layout)
        ((monomial, value),) = self.terms.items()
        with np.errstate(divide="ignore"):
            inverted = 1 / value
        if not np.isfinite(inverted).all():
            raise TooComplexError
        return Polynomial({frozenset((atom, -power) for atom, power in monomial): inverted}, self.layout)

    def of(self, function: str) -> Polynomial:
        """`function` of self, as one atom."""
        return Polynomial({frozenset({(Function(function, self), 1)}): np.array(1.0)}, self.layout)

    @property
    def constant(self) -> np.ndarray | None:
        """The value where there is no atom; None otherwise."""
        if not self.terms:
            return np.array(0.0)
        return self.terms[ONE] if set(self.terms) == {ONE} else None

    def scalar(self, monomial: Monomial) -> float | None:
        """The coefficient of `monomial`, 0 where it is missing, None where it is no scalar."""
        value = self.terms.get(monomial)
        if value is None:
            return 0.0
        return float(value.reshape(-1)[0]) if value.size == 1 else None

    def is_close(self, wanted: Mapping[Monomial, float]) -> bool:
        """True where these are the terms, up to the digits that exporters write."""
        if set(self.terms) != set(wanted):
            return False
        return all(
            value.size == 1 and bool(np.isclose(value, wanted[each], rtol=RELATIVE_TOLERANCE, atol=0).all())
            for each, value in self.terms.items()
        )


def constant(value: np.ndarray | float) -> Polynomial:
    array = np.asarray(value, np.float64)
    return Polynomial({ONE: array} if array.any() else {})


def atom(value: Atom, layout: tuple[object, ...] | None = None) -> Polynomial:
    return Polynomial({monomial(value): np.array(1.0)}, layout)


def monomial(*atoms: Atom | tuple[Atom, int]) -> Monomial:
    """The product of `atoms`, each with exponent 1 or as a pair with its own."""
    return frozenset(each if isinstance(each, tuple) else (each, 1) for each in atoms)


def _times(left: Monomial, right: Monomial) -> Monomial:
    powers = dict(left)
    for each, power in right:
        powers[each] = powers.get(each, 0) + power
    return frozenset((each, power) for each, power in powers.items() if power)


def _bounded(terms: dict[Monomial, np.ndarray], layout: tuple[object, ...] | None) -> Polynomial:
    kept = {each: value for each, value in terms.items() if value.any()}
    if len(kept) > MOST_TERMS:
        raise TooComplexError
    return Polynomial(kept, layout)


def _common_layout(left: Polynomial, right: Polynomial) -> tuple[object, ...] | None:
    if left.layout == right.layout:
        if left.layout is not None and not (_only_scalars(left) and _only_scalars(right)):
            raise TooComplexError
        return left.layout
    for one, other in ((left, right), (right, left)):
        value = one.constant
        if value is not None and value.size == 1 and one.layout is None and _only_scalars(other):
            return other.layout
    raise TooComplexError


def _only_scalars(polynomial: Polynomial) -> bool:
    return all(value.size == 1 for value in polynomial.terms.values())
