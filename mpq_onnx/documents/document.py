"""A JSON document: read and validated against the schema of its class, written whole; errors name the place in the file."""

import dataclasses
import functools
import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from mpq_onnx.documents.constraints import Part, Schema
from mpq_onnx.errors import AllocationError, MpqOnnxError, UsageError
from mpq_onnx.files import check_name, here, write_text

if TYPE_CHECKING:
    from pydantic import TypeAdapter

DIALECT = "https://json-schema.org/draft/2020-12/schema"
AnyDocument = TypeVar("AnyDocument", bound="Document")


@dataclass(frozen=True)
class FileKind:
    """What a kind of document says that it is, and how it is read and written."""

    title: str
    format: str
    version: int
    page: str
    """Where the format is documented."""
    refusal: type[MpqOnnxError] = AllocationError
    """Raised for a file that cannot be read."""
    indent: int | None = 1


@dataclass(frozen=True)
class Fault:
    """What keeps a content from being a document."""

    path: tuple[str | int, ...]
    """Where: keys and places in lists, from the top."""
    text: str
    """Where and what, in words."""


@dataclass(frozen=True)
class Header(Part):
    """What stands in every file beside the fields of its class."""

    format: str
    version: int


@dataclass(frozen=True)
class Document(Part):
    """Base of the dataclasses that are files; their fields are the file's, types, bounds and docstrings its schema."""

    KIND: ClassVar[FileKind]
    HEADER: ClassVar[type[Header]] = Header

    def fields(self) -> dict[str, Any]:
        """What its fields hold, as the file has them."""
        return dataclasses.asdict(self)

    def document(self) -> dict[str, Any]:
        """What the file holds."""
        return {"format": self.KIND.format, "version": self.KIND.version, **self.fields()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all."""
        write_text(path, json.dumps(self.document(), indent=self.KIND.indent) + "\n")

    @classmethod
    def check_place(cls, path: str | os.PathLike[str]) -> None:
        """See that `save` would take the place of an earlier such document, of an empty file, or of nothing.

        Raises:
            UsageError: the name, or the file that is there, is one of something else.
        """
        check_name(path, (".json",), f"the {cls.KIND.title}")
        place = Path(path)
        if not place.is_file() or not place.stat().st_size:
            return
        try:
            content = read_json(place, UsageError)
        except UsageError:
            content = None
        held = content.get("format") if isinstance(content, dict) else None
        if held != cls.KIND.format:
            what = held if isinstance(held, str) else "something else"
            raise UsageError(
                f"{path}: holds {what}, which the {cls.KIND.title} would replace; choose another file with -o"
            )

    @classmethod
    def load(cls: type[AnyDocument], path: str | os.PathLike[str]) -> AnyDocument:
        """Read and validate a file.

        Raises:
            MpqOnnxError: missing, not JSON, or against the schema (KIND.refusal); the message names the place in the file.
        """
        return cls.from_json(read_json(path, cls.KIND.refusal), str(path))

    @classmethod
    def parse(cls: type[AnyDocument], text: str, where: str) -> AnyDocument:
        """The document in JSON `text`; `where` names its origin in errors.

        Raises:
            MpqOnnxError: not JSON, or against the schema (KIND.refusal).
        """
        return cls.from_json(parse_json(text, where, cls.KIND.refusal), where)

    @classmethod
    def from_json(cls: type[AnyDocument], content: Any, where: str) -> AnyDocument:
        """The document of what a JSON text held.

        Raises:
            MpqOnnxError: against the schema (KIND.refusal).
        """
        fault = cls.first_fault(content)
        if fault is not None:
            held = content.get("format") if isinstance(content, dict) else None
            if isinstance(held, str) and held != cls.KIND.format:
                raise cls.KIND.refusal(
                    f"{where}: says that it is {held}; wanted is the {cls.KIND.title} ({cls.KIND.format})"
                )
            raise cls.KIND.refusal(f"{where}: at {fault.text}; see {cls.KIND.page} for the format")
        kind: Any = cls
        own = {field.name for field in dataclasses.fields(kind)}
        return _adapter(kind).validate_python({name: content[name] for name in content.keys() & own})

    @classmethod
    def first_fault(cls, content: Any) -> Fault | None:
        """What is wrong with the content of a file; None where it fits the schema."""
        import jsonschema

        from mpq_onnx.documents.faults import fault_path, fault_text

        faults = jsonschema.Draft202012Validator(cls.json_schema()).iter_errors(content)
        problem = jsonschema.exceptions.best_match(faults)
        return None if problem is None else Fault(fault_path(problem), fault_text(problem, content))

    @classmethod
    def json_schema(cls) -> Schema:
        """The JSON schema of the file, made of the class; names of registries are those registered now."""
        own, header = _schema_of(cls), _schema_of(cls.HEADER)
        header["properties"]["format"] = {"const": cls.KIND.format}
        header["properties"]["version"] = {"const": cls.KIND.version}
        return {
            "$schema": DIALECT,
            **own,
            "title": f"mpq-onnx {cls.KIND.title}",
            "required": header["required"] + own["required"],
            "properties": header["properties"] | own["properties"],
        }


def read_json(path: str | os.PathLike[str], refusal: type[MpqOnnxError]) -> Any:
    """What the JSON file holds; raises `refusal` where it is missing or not JSON."""
    try:
        text = here(path).read_text(encoding="utf-8")
    except (OSError, TypeError, ValueError) as error:  # not text, no path, a name that no file can have
        raise refusal(f"{path}: cannot be read: {error}") from error
    return parse_json(text, str(path), refusal)


def parse_json(text: str, where: str, refusal: type[MpqOnnxError]) -> Any:
    """What the JSON `text` holds; raises `refusal` where it is not JSON."""
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_countable)
    except (ValueError, RecursionError) as error:  # RecursionError: brackets without end
        raise refusal(f"{where}: not JSON: {error}") from error


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


@functools.cache
def _adapter(part: type) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    return TypeAdapter(part)


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_number(digits)


def _countable(digits: str) -> int | float:
    return int(digits) if len(digits) <= sys.float_info.max_10_exp else _no_number(f"{digits[:20]}...")


def _schema_of(part: Any) -> Schema:
    return _adapter(part).json_schema()
