"""Reading the project's JSON documents: each is validated against its schema, and errors name the place in the file."""

import importlib.resources
import json
import os
from pathlib import Path
from typing import Any

import jsonschema

from mpq_onnx.errors import AllocationError, MpqOnnxError

LONGEST_MESSAGE = 200


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
        place = "/".join(str(part) for part in problem.absolute_path) or "the top level"
        message = problem.message
        if len(message) > LONGEST_MESSAGE:
            message = message[:LONGEST_MESSAGE] + "..."
        page = f"docs/{schema.removesuffix('.schema.json')}.md"
        raise refusal(f"{where}: at {place}: {message}; see {page} for the format")
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


def load_schema(schema: str) -> dict[str, Any]:
    """A JSON schema of this package."""
    resource = importlib.resources.files("mpq_onnx").joinpath(schema)
    return json.loads(resource.read_text(encoding="utf-8"))
