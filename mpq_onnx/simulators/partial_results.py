"""What a profile has found so far, in a file beside the table, so that one that was interrupted goes on."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

SUFFIX = ".partial.jsonl"


class PartialResults:
    """Answers by key, a line each; keys hold all that an answer depends on, so that none is ever stale."""

    def __init__(self, path: Path) -> None:
        """Args: path: of the file; what it holds already is read."""
        self.path = path
        self.known = dict(_lines(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def add(self, answer: dict[str, Any]) -> None:
        """Keep an answer, on disk at once."""
        self.known[answer["key"]] = answer
        self._file.write(json.dumps(answer) + "\n")
        self._file.flush()

    def __enter__(self) -> "PartialResults":
        """As a context, it closes its file; what is in it stays."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self.known:
            self.path.unlink(missing_ok=True)


def _lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """What was kept; a last line that was cut short is left out."""
    found = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    for line in text.splitlines():
        try:
            answer = json.loads(line)
            found.append((str(answer["key"]), answer))
        except (ValueError, TypeError, KeyError):
            continue
    return found
