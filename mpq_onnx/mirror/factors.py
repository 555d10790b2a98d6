"""A product that is not multiplied out: factors that broadcast against each other are smaller than what they come to."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Factors:
    """A product of tensors; a sum with anything multiplies it out."""

    factors: tuple[Tensor, ...]

    @property
    def value(self) -> Tensor:
        """What it comes to."""
        return math.prod(self.factors[1:], start=self.factors[0])

    def each(self, function: Callable[[Tensor], Tensor]) -> Factors:
        """For a function under which a product is the product of what its factors become."""
        return Factors(tuple(function(factor) for factor in self.factors))

    def __mul__(self, other: Factors | Tensor | float) -> Factors:
        if isinstance(other, Factors):
            return Factors((*self.factors, *other.factors))
        if isinstance(other, Tensor):
            return Factors((*self.factors, other))
        return Factors((*self.factors[:-1], self.factors[-1] * other))

    __rmul__ = __mul__

    def __truediv__(self, other: Factors | Tensor | float) -> Factors:
        inverse = 1 / other.value if isinstance(other, Factors) else 1 / other
        return self * inverse

    def __rtruediv__(self, other: Tensor | float) -> Tensor:
        return other / self.value

    def __add__(self, other: Factors | Tensor | float) -> Tensor:
        return self.value + (other.value if isinstance(other, Factors) else other)

    __radd__ = __add__

    def __sub__(self, other: Factors | Tensor | float) -> Tensor:
        return self.value - (other.value if isinstance(other, Factors) else other)

    def __rsub__(self, other: Tensor | float) -> Tensor:
        return other - self.value

    def __neg__(self) -> Factors:
        return self * -1.0
