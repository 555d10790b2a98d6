"""Values that --set gives to inputs: a number, a list with commas, true or false, or a file.npy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mpq_onnx.errors import UsageError, first_line

WITHOUT_NUMBERS = "OSUMm"
"""Kinds of numpy types: objects, text, dates."""
WORDS = {"true": True, "false": False}


def fixed_values(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays by name, of numbers, arrays, or the texts of the command line.

    Raises:
        UsageError: a text that is none of these, an array without numbers, or a file that cannot be read.
    """
    found = {name: _array(name, value) for name, value in values.items()}
    for name, array in found.items():
        if array.dtype.kind in WITHOUT_NUMBERS:
            raise UsageError(
                f"--set {name}: holds {array.dtype}, not numbers; give a number or an array of them"
            )
    return found


def split_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE of the command line, by name.

    Raises:
        UsageError: no =, no name, or a name twice.
    """
    found: dict[str, str] = {}
    for text in settings:
        name, equals, value = text.rpartition("=")
        if not equals or not name or not value:
            raise UsageError(f"--set {text}: write NAME=VALUE, such as --set sr=16000")
        if name in found:
            raise UsageError(f"--set {name}: is given twice")
        found[name] = value
    return found


def _array(name: str, value: Any) -> np.ndarray:
    if isinstance(value, Path) or (isinstance(value, str) and value.endswith(".npy")):
        try:
            return np.load(value, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UsageError(f"--set {name}: {value} cannot be read: {first_line(error)}") from error
    if not isinstance(value, str):
        return np.asarray(value)
    parts = value.split(",")
    try:
        numbers = [WORDS[part.lower()] if part.lower() in WORDS else _number(part) for part in parts]
    except ValueError:
        raise UsageError(
            f"--set {name}={value}: write a number, numbers with commas between them, true, false, or a file.npy"
        ) from None
    return np.array(numbers if len(numbers) > 1 else numbers[0])


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
