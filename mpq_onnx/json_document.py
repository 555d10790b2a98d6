"""Reading the project's JSON documents: each is validated against its schema, and errors name the place in the file."""

import hashlib
import importlib.resources
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema

from mpq_onnx.errors import AllocationError, MpqOnnxError
from mpq_onnx.schema_faults import fault_text

EDITED = "edited"
"""The method of entries that somebody has changed since they were written."""


def read_document(
    path: str | os.PathLike[str], schema: str, refusal: type[MpqOnnxError] = AllocationError
) -> dict[str, Any]:
    """The document in a file (see parse_document).

    Raises:
        refusal: missing, not JSON, or against the schema.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise refusal(f"{path}: cannot be read: {error}") from error
    return parse_document(text, str(path), schema, refusal)


def parse_document(
    text: str, where: str, schema: str, refusal: type[MpqOnnxError] = AllocationError
) -> dict[str, Any]:
    """The document in JSON `text`, valid against `schema` (a file of this package).

    Raises:
        refusal: not JSON, or against the schema; the message names `where` and the place in it.
    """
    try:
        document = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # RecursionError: brackets without end
        raise refusal(f"{where}: not JSON: {error}") from error
    problem = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(load_schema(schema)).iter_errors(document)
    )
    if problem is not None:
        page = f"docs/{schema.removesuffix('.schema.json')}.md"
        raise refusal(f"{where}: at {fault_text(problem, document)}; see {page} for the format")
    return document


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def document_format(path: str | os.PathLike[str]) -> str | None:
    """What the document in a file says it is; None where it cannot be told (reading it will say why)."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document.get("format") if isinstance(document, dict) else None


def entries_digest(entries: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of a document's entries, by which a later reader sees whether they were edited; 8 and 8.0 are the same."""
    text = json.dumps([_as_floats(entry) for entry in entries], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def method_of(document: Mapping[str, Any]) -> str:
    """The method that made a document's entries; EDITED where they are not those that were written.

    Documents of earlier versions hold no digest and are taken at their word.
    """
    digest = document.get("digest")
    if digest is None or digest == entries_digest(document["nodes"]):
        return str(document["settings"]["method"])
    return EDITED


def _as_floats(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_floats(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_as_floats(part) for part in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def load_schema(schema: str) -> dict[str, Any]:
    """A JSON schema of this package."""
    resource = importlib.resources.files("mpq_onnx").joinpath(schema)
    return json.loads(resource.read_text(encoding="utf-8"))
