"""What a document's fields must keep, as annotations of their types; pydantic reads them when a document is read.

Bounds are those of annotated_types. None of this loads pydantic by itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Interval, MinLen

from mpq_onnx.arithmetic.quantization import MAXIMUM_BITS

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

Schema = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """A dataclass that a document holds: only its own fields are allowed, described by the docstrings below them."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "use_attribute_docstrings": True}


@dataclass(frozen=True)
class AsWritten:
    """A number stays whole where it was written so: 8 is read as 8, and written as 8 again."""

    def __get_pydantic_core_schema__(self, source: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
        from pydantic_core.core_schema import no_info_wrap_validator_function

        def checked(value: Any, check: Any) -> Any:
            check(value)
            return value

        return no_info_wrap_validator_function(checked, handler(source))


@dataclass(frozen=True, eq=False)
class OneOf:
    """A name in a registry, as it stands when the document is read."""

    names: Iterable[str]

    def __get_pydantic_json_schema__(self, schema: "CoreSchema", handler: "GetJsonSchemaHandler") -> Schema:
        return handler(schema) | {"enum": list(self.names)}


@dataclass(frozen=True)
class Distinct:
    """A list in which nothing stands twice."""

    def __get_pydantic_json_schema__(self, schema: "CoreSchema", handler: "GetJsonSchemaHandler") -> Schema:
        return handler(schema) | {"uniqueItems": True}


@dataclass(frozen=True)
class NotInFile:
    """A field that only the program has."""

    def __get_pydantic_json_schema__(self, schema: "CoreSchema", handler: "GetJsonSchemaHandler") -> Schema:
        from pydantic_core import PydanticOmit

        raise PydanticOmit


LARGEST_COUNT = 2**53
"""Whole numbers up to here are exact wherever JSON is read."""
Count = Annotated[int, Interval(ge=0, le=LARGEST_COUNT)]
PositiveCount = Annotated[int, Interval(ge=1, le=LARGEST_COUNT)]
Seed = Annotated[int, Interval(ge=0, le=2**64 - 1)]
Number = Annotated[float, AsWritten()]
Positive = Annotated[float, Gt(0), AsWritten()]
NotNegative = Annotated[float, Ge(0), AsWritten()]
WeightBits = Annotated[float, Interval(ge=0, le=MAXIMUM_BITS), AsWritten()]
ActivationBits = Annotated[float, Interval(ge=1, le=MAXIMUM_BITS), AsWritten()]
# One, or one per output channel.
WeightWidths = WeightBits | Annotated[tuple[WeightBits, ...], MinLen(1)]
Positives = Positive | Annotated[tuple[Positive, ...], MinLen(1)]
NotNegatives = NotNegative | Annotated[tuple[NotNegative, ...], MinLen(1)]
