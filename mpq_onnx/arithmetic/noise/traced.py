"""Formulas as the operators that they are made of: what a value of an ONNX graph under construction is to a noise model."""

from dataclasses import dataclass
from typing import Any, Protocol

from mpq_onnx.arithmetic.noise.model import Mac, NoiseModel, Variance

ARITHMETIC = "+ - * / and ** alone"


class Arithmetic(Protocol):
    """Makes the nodes; operands are its own values, or numbers."""

    def node(self, op_type: str, *operands: Any) -> Any:
        """What ONNX's `op_type` (Add, Sub, Mul, Div, Pow, Neg) makes of the operands."""


@dataclass(frozen=True, eq=False)
class Traced:
    """A value that arithmetic makes nodes of."""

    arithmetic: Arithmetic
    value: Any

    __array_ufunc__ = None
    """A number of numpy before an operator leaves it to this class."""

    def _of(self, op_type: str, *operands: Any) -> "Traced":
        plain = (each.value if isinstance(each, Traced) else float(each) for each in operands)
        return Traced(self.arithmetic, self.arithmetic.node(op_type, *plain))

    def __add__(self, other: Any) -> "Traced":
        return self._of("Add", self, other)

    def __radd__(self, other: Any) -> "Traced":
        return self._of("Add", other, self)

    def __sub__(self, other: Any) -> "Traced":
        return self._of("Sub", self, other)

    def __rsub__(self, other: Any) -> "Traced":
        return self._of("Sub", other, self)

    def __mul__(self, other: Any) -> "Traced":
        return self._of("Mul", self, other)

    def __rmul__(self, other: Any) -> "Traced":
        return self._of("Mul", other, self)

    def __truediv__(self, other: Any) -> "Traced":
        return self._of("Div", self, other)

    def __rtruediv__(self, other: Any) -> "Traced":
        return self._of("Div", other, self)

    def __pow__(self, other: Any) -> "Traced":
        return self._of("Pow", self, other)

    def __rpow__(self, other: Any) -> "Traced":
        return self._of("Pow", other, self)

    def __neg__(self) -> "Traced":
        return self._of("Neg", self)


def traced(variance: Variance, quantities: Mac) -> Any:
    """The value that a formula of Traced `quantities` comes to.

    Raises:
        TypeError: it is a number, which no quantity of the node has a part in.
    """
    found = variance(quantities)
    if not isinstance(found, Traced):
        raise TypeError(
            f"it gives {type(found).__name__}, and none of the node's quantities has a part in it"
        )
    return found.value


def check_formulas(model: NoiseModel) -> None:
    """Raise ValueError for a formula that no file can hold, or that reads a range without saying that it needs it."""
    for formula in ("output_variance", "weight_variance"):
        variance = getattr(model, formula)
        if variance is None:
            continue
        asked = _Asked()
        try:
            traced(variance, asked)  # type: ignore[arg-type]
        except Exception as error:  # another package's own code runs
            raise ValueError(
                f"{formula} cannot be written into a file, which takes {ARITHMETIC}: {type(error).__name__}: {error}"
            ) from error
        for quantity in ("weight_range", "input_range"):
            if quantity in asked.names and not getattr(model, f"needs_{quantity}"):
                raise ValueError(f"{formula} reads {quantity}, and needs_{quantity} is not set")


class _Asked:
    """A Mac that remembers what it was asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getattr__(self, name: str) -> Traced:
        if not isinstance(getattr(Mac, name, None), property):
            raise AttributeError(f"a node has no {name}")
        self.names.add(name)
        return Traced(_Nothing(), None)


class _Nothing:
    """Makes no nodes."""

    def node(self, op_type: str, *operands: Any) -> None:
        """See Arithmetic."""
